//! What memory a program uses, as text.

use crate::program::{Place, Program};
use igneous_ir::dim::Dim;
use std::fmt;

/// The memory map of a program; prints as text.
pub struct MemoryReport<'a>(&'a Program);

impl Program {
    /// The memory map: what the caller holds, what a run returns, and what lies where in the arena during which launches.
    pub fn memory(&self) -> MemoryReport<'_> {
        MemoryReport(self)
    }
}

impl MemoryReport<'_> {
    /// The bytes of the arena.
    pub fn arena(&self) -> Dim {
        let ends = self.0.buffers.iter().filter_map(|b| match b.place {
            Place::Arena(offset) => Some(offset + b.ty.bytes()),
            _ => None,
        });
        ends.fold(Dim::ZERO, Dim::max)
    }

    /// The bytes of the buffers in places that `choose` picks.
    fn total(&self, choose: impl Fn(&Place) -> bool) -> Dim {
        self.0.buffers.iter().filter(|b| choose(&b.place)).fold(Dim::ZERO, |sum, b| sum + b.ty.bytes())
    }

    /// The first and the last launch that names the buffer.
    fn life(&self, buffer: usize) -> Option<(usize, usize)> {
        let mut launches = (0..self.0.launches.len()).filter(|&l| self.0.launches[l].params.contains(&buffer));
        let first = launches.next()?;
        Some((first, launches.next_back().unwrap_or(first)))
    }
}

impl fmt::Display for MemoryReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.0;
        writeln!(f, "memory of `{}`", program.name)?;
        let inputs = self.total(|p| matches!(p, Place::Input(_)));
        let variables = self.total(|p| matches!(p, Place::InOut(_)));
        let results = self.total(|p| matches!(p, Place::Result));
        let constants = self.total(|p| matches!(p, Place::Constant(_)));
        for (name, bytes) in [("inputs", inputs), ("variables", variables), ("results", results), ("constants", constants)] {
            writeln!(f, "  {name:9}  {bytes} bytes")?;
        }
        let unshared = self.total(|p| matches!(p, Place::Arena(_)));
        writeln!(f, "  {:9}  {} bytes for buffers of {unshared} bytes", "arena", self.arena())?;

        let mut held: Vec<(Dim, usize)> = Vec::new();
        for (buffer, spec) in program.buffers.iter().enumerate() {
            if let Place::Arena(offset) = spec.place {
                held.push((offset, buffer));
            }
        }
        held.sort();
        for (offset, buffer) in held {
            let ty = &program.buffers[buffer].ty;
            let life = match self.life(buffer) {
                Some((first, last)) => format!("launches {first}..={last}"),
                None => "no launch".to_owned(),
            };
            writeln!(f, "    at {offset}: {} bytes, buffer {buffer} {ty}, {life}", ty.bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::executor::tests::{f32s, program};
    use crate::program::Place;
    use igneous_ir::dim::Dim;

    #[test]
    fn a_memory_map_names_places_and_lives() {
        let b = Dim::symbol("B", 1, 64);
        let mut p = program("step");
        let (x, w) = (p.input(&f32s([b, Dim::from(16)])), p.variable(&f32s([16])));
        let far = p.buffer(&f32s([16]), Place::Arena(b * 64));
        let near = p.buffer(&f32s([b, Dim::from(16)]), Place::Arena(Dim::ZERO));
        p.launch(&[x, near], vec![]);
        p.launch(&[near, far], vec![]);
        p.launch(&[w, far], vec![]);
        let expected = "\
memory of `step`
  inputs     64*B bytes
  variables  64 bytes
  results    0 bytes
  constants  0 bytes
  arena      64*B + 64 bytes for buffers of 64*B + 64 bytes
    at 0: 64*B bytes, buffer 3 f32[B, 16], launches 0..=1
    at 64*B: 64 bytes, buffer 2 f32[16], launches 1..=2
";
        assert_eq!(p.memory().to_string(), expected);
    }
}
