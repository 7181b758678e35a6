//! What becomes of new values of variables that do not lie in place of the old ones when a check has failed: the old values are put there,
//! so that a run that failed has changed nothing, whenever that is found.

use super::{KernelText, Launch};
use crate::program::{Place, Program};
use std::fmt::Write;
use std::sync::Arc;

/// Values that one kernel restores: older drivers take 4096 bytes of arguments.
const MOST: usize = 128;
/// Blocks and threads of a launch, which has something to do after a failure only.
const BLOCKS: u32 = 32;
const THREADS: u32 = 256;

/// A kernel, and the pairs of an input and the output that takes its place.
pub(super) struct Restore {
    pub kernel: Arc<KernelText>,
    pairs: Vec<(usize, usize)>,
}

impl Restore {
    /// What a program needs that has checks.
    pub fn all(program: &Program) -> Vec<Restore> {
        let apart = |output: usize| program.buffers[program.outputs[output].buffer].place == Place::Result;
        let same = |input: usize, output: usize| program.inputs[input] == program.outputs[output].ty;
        let replaced = program.outputs.iter().enumerate().filter_map(|(k, output)| Some((output.replaces?, k)));
        let pairs: Vec<(usize, usize)> = replaced.filter(|&(input, output)| apart(output) && same(input, output)).collect();
        pairs.chunks(MOST).map(|pairs| Restore { kernel: Arc::new(text(pairs.len())), pairs: pairs.to_vec() }).collect()
    }

    /// Whether an output is restored.
    pub fn has(&self, output: usize) -> bool {
        self.pairs.iter().any(|&(_, restored)| restored == output)
    }

    /// Hands the launch for inputs and outputs at these addresses, of which the outputs have so many bytes, to `launch`.
    pub fn launch<T>(
        &self,
        [inputs, outputs]: [&[u64]; 2],
        bytes: impl Fn(usize) -> usize,
        error: u64,
        launch: impl FnOnce(Launch<'_>) -> T,
    ) -> T {
        let of_pair = |&(input, output): &(usize, usize)| [outputs[output], inputs[input], bytes(output) as u64];
        let arguments: Vec<u64> = self.pairs.iter().flat_map(of_pair).chain([error]).collect();
        launch(Launch { kernel: &self.kernel, grid: BLOCKS, shared: 0, arguments: &arguments })
    }
}

fn text(count: usize) -> KernelText {
    let name = format!("restore_{count}");
    let mut source = format!("extern \"C\" __global__ void __launch_bounds__({THREADS}) {name}(");
    for k in 0..count {
        let _ = write!(source, "unsigned char* to{k}, const unsigned char* from{k}, long long bytes{k}, ");
    }
    source.push_str("const unsigned long long* error) {\n  if (!*error) return;\n");
    let _ = writeln!(source, "  const long long first = blockIdx.x * {THREADS}ll + threadIdx.x, step = gridDim.x * {THREADS}ll;");
    for k in 0..count {
        let _ = writeln!(source, "  for (long long k = first; k < bytes{k}; k += step) to{k}[k] = from{k}[k];");
    }
    source.push_str("}\n");
    KernelText { name, source, block: THREADS }
}
