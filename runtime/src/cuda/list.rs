//! The launch list of a program as text.

use crate::program::{Launch, Place, Program, Work};
use std::fmt::{self, Write};

/// What a program for CUDA asks of its device, in order, a line each: kernels with blocks, threads and bytes of shared memory, copies,
/// repeated lists, and what the host computes.
pub fn launch_list(program: &Program) -> impl fmt::Display + '_ {
    std::fmt::from_fn(|f| write_program(f, program, 0))
}

fn write_program(f: &mut fmt::Formatter<'_>, program: &Program, depth: usize) -> fmt::Result {
    program.launches.iter().try_for_each(|launch| write_launch(f, program, launch, depth))
}

fn write_launch(f: &mut fmt::Formatter<'_>, program: &Program, launch: &Launch, depth: usize) -> fmt::Result {
    let pad = "  ".repeat(depth);
    let buffers = buffers(program, launch);
    for work in &launch.work {
        match work {
            Work::Cuda(work) => {
                let mut sizes = format!("{}, {}", work.grid, work.kernel.block);
                if work.shared.as_const() != Some(0) {
                    write!(sizes, ", {}", work.shared)?;
                }
                let scratch =
                    if work.scratch.as_const() == Some(0) { String::new() } else { format!(" scratch {}", work.scratch) };
                writeln!(f, "{pad}{}<<<{sizes}>>>({buffers}){scratch}", work.kernel.name)?;
                if let Some(library) = &work.library {
                    writeln!(f, "{pad}  or by a library: {}", library.operation)?;
                }
            }
            Work::Copy => writeln!(f, "{pad}copy({buffers})")?,
            Work::Library(work) => writeln!(f, "{pad}on the host, with copies to it and back: {}({buffers})", work.op.name())?,
            Work::Call(body) => {
                writeln!(f, "{pad}call({buffers}) {{")?;
                write_program(f, body, depth + 1)?;
                writeln!(f, "{pad}}}")?;
            }
            Work::Scan(scan) => {
                let order = if scan.reverse { ", from the last" } else { "" };
                writeln!(f, "{pad}repeat {} times{order} ({buffers}) {{", scan.steps)?;
                write_program(f, &scan.body, depth + 1)?;
                writeln!(f, "{pad}}}")?;
            }
            Work::Cond(cond) => {
                writeln!(f, "{pad}if ({buffers}) {{")?;
                write_program(f, &cond.then, depth + 1)?;
                writeln!(f, "{pad}}} else {{")?;
                write_program(f, &cond.otherwise, depth + 1)?;
                writeln!(f, "{pad}}}")?;
            }
            Work::While(repeated) => {
                let most = repeated.bound.map_or(String::new(), |bound| format!(", at most {bound} times"));
                writeln!(f, "{pad}while ({buffers}){most} {{")?;
                write_program(f, &repeated.condition, depth + 1)?;
                writeln!(f, "{pad}}} do {{")?;
                write_program(f, &repeated.body, depth + 1)?;
                writeln!(f, "{pad}}}")?;
            }
            Work::Loop(_) | Work::Dot(_) | Work::Attention(_) => writeln!(f, "{pad}{}: compiled for a CPU", launch.name)?,
        }
    }
    Ok(())
}

/// Where each parameter of a launch lies.
fn buffers(program: &Program, launch: &Launch) -> String {
    let place = |&p: &usize| match &program.buffers[p].place {
        Place::Input(i) => format!("input {i}"),
        Place::InOut(i) => format!("input {i} in place"),
        Place::Result => {
            let output = program.outputs.iter().position(|o| o.buffer == p);
            output.map_or("result".into(), |o| format!("output {o}"))
        }
        Place::Arena(offset) => format!("arena+{offset}"),
        Place::Constant(c) => format!("constant {c}"),
    };
    launch.params.iter().map(place).collect::<Vec<_>>().join(", ")
}
