//! Where tensors live.

use std::fmt;

/// A place that holds tensors and runs programs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Device {
    /// The processor and its memory.
    #[default]
    Cpu,
}

impl Device {
    /// The fastest device of this machine that igneous can use.
    pub fn best() -> Device {
        Device::Cpu
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Cpu => "cpu",
        })
    }
}
