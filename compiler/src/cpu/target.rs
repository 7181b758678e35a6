//! The instruction set that kernels are compiled for.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use igneous_ir::error::{Error, Result};
use std::sync::OnceLock;

/// What the machine can do beyond the baseline of its architecture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// Fused multiply-add instructions: `Fma` rounds once.
    pub fma: bool,
    /// Rounding instructions (SSE4.1 on x86-64).
    pub sse41: bool,
    /// Three-operand forms of the 128-bit instructions (AVX on x86-64).
    pub avx: bool,
    /// AVX2 on x86-64.
    pub avx2: bool,
    /// The vectors of contiguous innermost loops.
    pub width: Width,
    /// A kernel that touches more bytes than this leaves nothing in the caches for the next: its larger results are stored past
    /// them.
    pub caches: usize,
}

/// Most of the last-level cache of current machines; others use it too.
const CACHES: usize = 24 << 20;

/// The vectors that contiguous innermost loops are done with. Results do not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Width {
    /// 128 bits, what Cranelift has on every machine.
    Portable,
    /// 256 bits on x86-64: AVX2, FMA, F16C and BMI2.
    Avx2,
    /// 512 bits on x86-64: AVX-512 F, DQ, BW and VL.
    Avx512,
}

impl Width {
    /// All widths, narrow ones first.
    pub const ALL: [Width; 3] = [Width::Portable, Width::Avx2, Width::Avx512];

    /// The name in `IGNEOUS_CPU`.
    pub const fn name(self) -> &'static str {
        match self {
            Width::Portable => "portable",
            Width::Avx2 => "avx2",
            Width::Avx512 => "avx512",
        }
    }

    /// The widest that this machine has.
    fn detected() -> Width {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = std::is_x86_feature_detected!("avx2")
                && std::is_x86_feature_detected!("fma")
                && std::is_x86_feature_detected!("f16c")
                && std::is_x86_feature_detected!("bmi2");
            let has_avx512 = std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512vl");
            match (has_avx2, has_avx512) {
                (true, true) => Width::Avx512,
                (true, false) => Width::Avx2,
                _ => Width::Portable,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Width::Portable
        }
    }

    /// What `IGNEOUS_CPU` names, but no more than the machine has; the widest without it.
    fn chosen() -> Width {
        static CHOSEN: OnceLock<Width> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let name = std::env::var("IGNEOUS_CPU").unwrap_or_default();
            let named = Width::ALL.into_iter().find(|w| w.name() == name);
            named.map_or_else(Width::detected, |w| w.min(Width::detected()))
        })
    }
}

impl Target {
    /// The machine this process runs on. The environment variable `IGNEOUS_CPU` (`portable`, `avx2`, `avx512`) can ask for
    /// narrower vectors than it has.
    pub fn host() -> Target {
        #[cfg(target_arch = "x86_64")]
        {
            Target {
                // Cranelift encodes FMA with VEX prefixes, which AVX brings.
                fma: std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("avx"),
                sse41: std::is_x86_feature_detected!("ssse3") && std::is_x86_feature_detected!("sse4.1"),
                avx: std::is_x86_feature_detected!("avx"),
                avx2: std::is_x86_feature_detected!("avx2"),
                width: Width::chosen(),
                caches: CACHES,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Target::baseline()
        }
    }

    /// This machine with each of the widths it has, narrow ones first.
    pub fn widths() -> Vec<Target> {
        let widths = Width::ALL.into_iter().filter(|&w| w <= Width::detected());
        widths.map(|width| Target { width, ..Target::host() }).collect()
    }

    /// What every machine of the architecture has.
    pub fn baseline() -> Target {
        let rich = cfg!(not(target_arch = "x86_64"));
        Target { fma: rich, sse41: rich, avx: false, avx2: false, width: Width::Portable, caches: CACHES }
    }

    /// Cranelift's back end for this target.
    pub(super) fn isa(&self) -> Result<OwnedTargetIsa> {
        let mut flags = settings::builder();
        let verify = if cfg!(debug_assertions) { "true" } else { "false" };
        // Loop invariants are hoisted before Cranelift sees the code, so its mid-end would only cost time.
        let choices = [
            ("opt_level", "none"),
            ("enable_verifier", verify),
            ("is_pic", "false"),
            ("unwind_info", "false"),
            ("enable_probestack", "false"),
        ];
        for (name, value) in choices {
            flags.set(name, value).map_err(Error::other)?;
        }
        let mut builder = cranelift_native::builder_with_options(false).map_err(Error::other)?;
        if cfg!(target_arch = "x86_64") {
            let features: [(bool, &[&str]); 4] = [
                (self.sse41, &["has_sse3", "has_ssse3", "has_sse41"]),
                (self.avx, &["has_sse42", "has_avx"]),
                (self.avx2, &["has_avx2"]),
                (self.fma, &["has_fma"]),
            ];
            for name in features.iter().filter(|(has, _)| *has).flat_map(|(_, names)| *names) {
                builder.enable(name).map_err(Error::other)?;
            }
        }
        builder.finish(settings::Flags::new(flags)).map_err(Error::other)
    }
}
