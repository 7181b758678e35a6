//! Executable memory of one compilation.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{Linkage, Module};
use igneous_ir::error::{Error, Result};
use igneous_runtime::program::KernelFn;
use std::sync::Mutex;

/// Machine code, mapped executable and not writable; unmapped when dropped.
pub(super) struct CodeMemory {
    /// `Some` until dropped, if there is any code. The lock is never contended: nothing reads the module after it is made.
    module: Mutex<Option<JITModule>>,
}

/// One compiled function before it has an address.
pub(super) struct MachineCode {
    pub bytes: Vec<u8>,
    pub alignment: u64,
}

impl CodeMemory {
    /// Maps `functions` and returns their addresses. None of them may refer to another or to the outside.
    pub fn map(isa: OwnedTargetIsa, functions: &[MachineCode]) -> Result<(CodeMemory, Vec<KernelFn>)> {
        if functions.is_empty() {
            return Ok((CodeMemory { module: Mutex::new(None) }, Vec::new()));
        }
        let page = 1 << 16;
        let size: usize = functions.iter().map(|f| f.bytes.len().next_multiple_of(4096) + 4096).sum();
        let arena = ArenaMemoryProvider::new_with_size(size.next_multiple_of(page).max(page)).map_err(Error::other)?;
        let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
        builder.memory_provider(Box::new(arena));
        let mut module = JITModule::new(builder);
        let signature = module.make_signature();
        let mut ids = Vec::with_capacity(functions.len());
        for (i, f) in functions.iter().enumerate() {
            let id = module.declare_function(&format!("f{i}"), Linkage::Local, &signature).map_err(Error::other)?;
            module.define_function_bytes(id, f.alignment.max(16), &f.bytes, &[]).map_err(Error::other)?;
            ids.push(id);
        }
        module.finalize_definitions().map_err(Error::other)?;
        let address = |id| {
            let code = module.get_finalized_function(id);
            // SAFETY: `code` is the first byte of a function compiled with the signature of `KernelFn` (see
            // `Emitter::signature`) and the platform's C calling convention; the memory is executable by now.
            unsafe { std::mem::transmute::<*const u8, KernelFn>(code) }
        };
        let addresses = ids.into_iter().map(address).collect();
        Ok((CodeMemory { module: Mutex::new(Some(module)) }, addresses))
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        let module = self.module.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(module) = module {
            // SAFETY: whoever may call a function of this memory holds the `Arc` that owns it
            // (the contract of `CpuCode::memory`), so none is running and none will be called.
            unsafe { module.free_memory() };
        }
    }
}
