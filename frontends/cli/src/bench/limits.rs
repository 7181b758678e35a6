//! The least time that work can take on a machine: the arithmetic at its peak or the bytes at its bandwidth.

/// What work needs at least, however it is done.
#[derive(Clone, Copy)]
pub struct Work {
    /// Floating-point operations.
    pub flops: f64,
    /// Those in products of half types.
    pub half_flops: f64,
    /// Bytes of what it is given and what it leaves behind.
    pub bytes: f64,
}

/// What the cores in use can do together.
pub struct Machine {
    /// Floating-point operations a nanosecond.
    pub flops_per_ns: f64,
    /// Those in products of half types.
    pub half_flops_per_ns: f64,
    /// Bytes a nanosecond from the last-level cache.
    pub cache_bytes_per_ns: f64,
    /// Bytes a nanosecond from memory.
    pub memory_bytes_per_ns: f64,
    /// What the cache can keep from one step to the next.
    pub cache_bytes: f64,
}

/// The least time of some work.
pub struct Least {
    /// Nanoseconds.
    pub ns: f64,
    /// What they go to.
    pub by: &'static str,
}

impl Machine {
    /// The least time of `work`, which is repeated: bytes that fit the cache are found there, only the rest comes from memory.
    pub fn least(&self, work: Work) -> Least {
        let cached = work.bytes.min(self.cache_bytes);
        let memory = cached / self.cache_bytes_per_ns + (work.bytes - cached) / self.memory_bytes_per_ns;
        let arithmetic = work.flops / self.flops_per_ns + work.half_flops / self.half_flops_per_ns;
        match arithmetic > memory {
            true => Least { ns: arithmetic, by: "arithmetic" },
            false => Least { ns: memory, by: "memory" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        flops_per_ns: 100.0,
        half_flops_per_ns: 800.0,
        cache_bytes_per_ns: 50.0,
        memory_bytes_per_ns: 10.0,
        cache_bytes: 1000.0,
    };

    #[test]
    fn bytes_beyond_the_cache_come_from_memory() {
        let least = |bytes| MACHINE.least(Work { flops: 0.0, half_flops: 0.0, bytes }).ns;
        assert_eq!((least(500.0), least(1000.0), least(1500.0)), (10.0, 20.0, 70.0));
    }

    #[test]
    fn the_slower_of_arithmetic_and_memory_counts() {
        let least = MACHINE.least(Work { flops: 3000.0, half_flops: 0.0, bytes: 1000.0 });
        assert_eq!((least.ns, least.by), (30.0, "arithmetic"));
        assert_eq!(MACHINE.least(Work { flops: 1000.0, half_flops: 4000.0, bytes: 1000.0 }).by, "memory");
        assert_eq!(MACHINE.least(Work { flops: 1000.0, half_flops: 16000.0, bytes: 1000.0 }).ns, 30.0);
    }
}
