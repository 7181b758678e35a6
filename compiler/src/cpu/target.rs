//! The instruction set that kernels are compiled for.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use igneous_ir::error::{Error, Result};

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
}

impl Target {
    /// The machine this process runs on.
    pub fn host() -> Target {
        #[cfg(target_arch = "x86_64")]
        {
            Target {
                // Cranelift encodes FMA with VEX prefixes, which AVX brings.
                fma: std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("avx"),
                sse41: std::is_x86_feature_detected!("ssse3") && std::is_x86_feature_detected!("sse4.1"),
                avx: std::is_x86_feature_detected!("avx"),
                avx2: std::is_x86_feature_detected!("avx2"),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Target::baseline()
        }
    }

    /// What every machine of the architecture has.
    pub fn baseline() -> Target {
        let rich = cfg!(not(target_arch = "x86_64"));
        Target { fma: rich, sse41: rich, avx: false, avx2: false }
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
