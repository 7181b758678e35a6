//! A steady state asks the system for no memory, launches allocate nothing, and nothing leaks. One test, because it
//! counts for the whole process.

use igneous_ir::dim::{Dim, Symbol, intern};
use igneous_ir::types::{DType, TensorType};
use igneous_runtime::buffer::memory_stats;
use igneous_runtime::program::{
    AttentionPass, AttentionWork, BufferSpec, DotOut, DotWork, Elements, ErrorWord, Launch, LoopWork, Operand, Output, Place,
    Program, ScanWork, WhileWork, Work,
};
use igneous_runtime::{Buffer, set_num_threads};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

struct Counting;

static CALLS: AtomicI64 = AtomicI64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// `params[1][i] = params[0][i] + 1` for every i in bounds; fails check 0 where the element is negative.
unsafe extern "C" fn plus_one(p: *const *mut u8, _: *const i64, bounds: *const i64, _: *mut u8, error: *mut ErrorWord) {
    // SAFETY: the programs below give these parameters.
    unsafe {
        let (from, to) = ((*p).cast::<f32>(), (*p.add(1)).cast::<f32>());
        for i in *bounds as usize..*bounds.add(1) as usize {
            if *from.add(i) < 0.0 {
                (*error).code.store(1, Ordering::Release);
            }
            *to.add(i) = *from.add(i) + 1.0;
        }
    }
}

/// `params[1][0] = params[0][0] < 9.0`
unsafe extern "C" fn below_nine(p: *const *mut u8, _: *const i64, _: *const i64, _: *mut u8, _: *mut ErrorWord) {
    // SAFETY: the program below gives these parameters.
    unsafe { *(*p.add(1)).cast::<bool>() = *(*p).cast::<f32>() < 9.0 }
}

/// Writes nothing: the packed operand is whatever the scratch holds.
unsafe extern "C" fn nothing(_: *const *mut u8, _: *const i64, _: *const i64, _: *mut u8, _: *mut ErrorWord) {}

fn plus(n: Dim, scratch: usize) -> Work {
    let (extents, scratch) = (vec![n], Dim::from(scratch));
    Work::Loop(LoopWork { function: plus_one, extents, bind: vec![0], point_ns: 100.0, rows: false, scratch, params: None })
}

/// `launches` kernels that add one, between an input and a result by way of two arena buffers.
fn chain(n: Dim, launches: usize) -> Program {
    let ty = TensorType::new(DType::F32, [n]);
    let arena = |index: usize| Place::Arena((n * 4 + 63).div_floor(64) * (64 * index));
    let places = [Place::Input(0), arena(0), arena(1), Place::Result];
    let launch = |i: usize| Launch {
        name: "plus_one".to_owned(),
        params: vec![if i == 0 { 0 } else { 1 + i % 2 }, if i == launches - 1 { 3 } else { 2 - i % 2 }],
        work: vec![plus(n, 100)],
        flops: n,
        bytes: n * 8,
        commits: false,
    };
    Program {
        name: "chain".to_owned(),
        symbols: if n.is_symbolic() { vec![(Symbol { name: intern("N"), lo: 0, hi: 1 << 20 }, 0, 0)] } else { vec![] },
        inputs: vec![ty.clone()],
        outputs: vec![Output { ty: ty.clone(), buffer: 3, replaces: None }],
        buffers: places.into_iter().map(|place| BufferSpec { ty: ty.clone(), place }).collect(),
        constants: vec![],
        launches: (0..launches).map(launch).collect(),
        checks: vec![("negative".to_owned(), None)],
        code: Arc::new(()),
        plans: Default::default(),
    }
}

/// Attention or its derivative on ten batches, whose operands all are the first elements of a buffer.
fn attention(derivative: bool) -> Work {
    let [ten, four] = [10, 4].map(Dim::from);
    let matrix = |param: usize, offset: i64| Elements {
        param,
        offset: Dim::constant(offset),
        batch: vec![ten * four],
        row: four,
        column: Dim::ONE,
    };
    let row = || Elements { batch: vec![ten], row: Dim::ONE, column: Dim::ZERO, ..matrix(0, 0) };
    let cotangents = Box::new([0, 1, 2].map(|i| Some(matrix(1, 400 * i))));
    let pass = match derivative {
        true => AttentionPass::Backward { lse: row(), delta: row(), dy: matrix(0, 0), cotangents },
        false => AttentionPass::Forward { y: Some(matrix(1, 0)), lse: None },
    };
    Work::Attention(Box::new(AttentionWork {
        batch: vec![ten],
        queries: ten,
        keys: ten,
        features: four,
        values: four,
        scale: 0.5,
        causal: true,
        operands: [0; 3].map(|_| matrix(0, 0)),
        mask: None,
        score: None,
        pass,
    }))
}

/// Whether the first element is below nine.
fn first_below_nine(n: usize) -> Program {
    let mut p = chain(Dim::from(n), 1);
    let flag = TensorType::new(DType::Bool, [1usize]);
    p.outputs = vec![Output { ty: flag.clone(), buffer: 3, replaces: None }];
    p.buffers[3].ty = flag;
    let mut work = plus(Dim::ONE, 0);
    if let Work::Loop(work) = &mut work {
        work.function = below_nine;
    }
    p.launches[0].work = vec![work];
    p
}

/// The chain, with a scan over itself, a packed dot in parts, attention, and a loop that ends when a condition does behind it.
fn mixed(n: usize) -> Program {
    let mut p = chain(Dim::from(n), 10);
    let dim = Dim::from(n);
    let result = p.buffers[3].clone();
    p.buffers.extend([0; 5].map(|_| result.clone()));
    for buffer in 4..9 {
        p.outputs.push(Output { ty: p.buffers[buffer].ty.clone(), buffer, replaces: None });
    }
    let body = Arc::new(chain(dim, 3));
    let scan = ScanWork { body, steps: Dim::from(4), constants: 0, carries: 1, sequences: 0, reverse: false };
    let side = Operand::Packed { function: nothing };
    let dot = DotWork {
        dtype: DType::F32,
        batch: vec![],
        m: Dim::ONE,
        n: dim,
        k: Dim::from(100),
        lhs: side.clone(),
        rhs: side,
        split_k: 3,
        out: DotOut::Param { param: 1, batch: vec![], m: dim, n: Dim::ONE },
        block: (Dim::ONE, Dim::from(64)),
    };
    let (scan, dot) = (Work::Scan(Box::new(scan)), Work::Dot(Box::new(dot)));
    let condition = Arc::new(first_below_nine(n));
    let repeated = WhileWork { condition, body: Arc::new(chain(dim, 3)), constants: 0, bound: Some(100) };
    let repeated = Work::While(Box::new(repeated));
    for (work, to) in [(scan, 4), (dot, 5), (attention(false), 6), (attention(true), 7), (repeated, 8)] {
        let (flops, bytes) = (Dim::ZERO, Dim::ZERO);
        p.launches.push(Launch { name: "more".to_owned(), params: vec![0, to], work: vec![work], flops, bytes, commits: false });
    }
    p
}

fn floats(n: usize, value: f32) -> Buffer {
    Buffer::from_slice(&vec![value; n]).expect("memory")
}

#[test]
fn steady_runs_allocate_nothing_and_programs_leave_nothing() {
    let n = 5000;

    let p = mixed(n);
    let inputs = [floats(n, 1.0)];
    let run = || {
        let out = p.run(&inputs).expect("it fits");
        assert!(out[0].as_slice::<f32>().expect("floats").iter().all(|&x| x == 11.0));
        assert!(out[1].as_slice::<f32>().expect("floats").iter().all(|&x| x == 13.0));
        assert!(out[5].as_slice::<f32>().expect("floats").iter().all(|&x| x == 10.0));
    };
    settles(&run, memory_stats);

    set_num_threads(1);
    let calls = |launches: usize| {
        let p = chain(Dim::from(n), launches);
        let mut out = p.run(&inputs).expect("it fits");
        let before = CALLS.load(Ordering::Relaxed);
        for _ in 0..100 {
            out = p.run(&inputs).expect("it fits");
        }
        drop(out);
        CALLS.load(Ordering::Relaxed) - before
    };
    assert_eq!(calls(100), calls(2));
    assert!(calls(100) <= 100, "more than the vector of outputs for each run");

    let lives = || {
        let p = chain(Dim::symbol("N", 0, 1 << 20), 4);
        for size in [1, 100, n, 0] {
            let out = p.run_with_shapes(&[floats(size, 1.0)], &[&[size]]).expect("it fits");
            assert!(out[0].as_slice::<f32>().expect("floats").iter().all(|&x| x == 5.0));
        }
        assert!(p.run_with_shapes(&[floats(3, -1.0)], &[&[3]]).is_err());
        assert!(p.run_with_shapes(&[floats(3, 1.0)], &[&[2]]).is_err());
        mixed(n).run(&inputs).expect("it fits");
    };
    settles(&lives, || (memory_stats().live, BYTES.load(Ordering::Relaxed)));
}

/// Asserts that after a while repetitions change nothing of what `measure` sees: at once on one thread; on several, when each
/// has met its first task, and with it its scratch memory.
fn settles<T: PartialEq + std::fmt::Debug>(repeat: &dyn Fn(), measure: impl Fn() -> T) {
    let window = || {
        let before = measure();
        (0..50).for_each(|_| repeat());
        (before, measure())
    };
    for (threads, attempts) in [(1, 1), (2, 40)] {
        set_num_threads(threads);
        (0..3).for_each(|_| repeat());
        let settled = (0..attempts).map(|_| window()).find(|(before, after)| before == after || attempts == 1);
        let (before, after) = settled.unwrap_or_else(window);
        assert_eq!(before, after, "{threads} threads");
    }
}
