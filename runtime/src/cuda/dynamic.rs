//! Libraries that are looked for when they are first needed.

use igneous_ir::error::{Error, Result};
use libloading::Library;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Defines a table of functions, each with its name in the library.
macro_rules! functions {
    ($table:ident: $($name:ident: $symbol:literal ($($argument:ty),*);)*) => {
        pub(super) struct $table {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> Status,)*
            _library: libloading::Library,
        }

        impl $table {
            /// # Safety
            /// The library is the one that has these functions.
            unsafe fn of(library: libloading::Library) -> Result<$table> {
                // SAFETY: the functions have these types in every version of the library that has them.
                unsafe { Ok($table { $($name: symbol(&library, $symbol)?,)* _library: library }) }
            }
        }
    };
}
pub(super) use functions;

/// A function of a library.
///
/// # Safety
/// The function has this type.
pub(super) unsafe fn symbol<T: Copy>(library: &Library, name: &str) -> Result<T> {
    // SAFETY: by the caller.
    unsafe { library.get::<T>(name.as_bytes()) }.map(|s| *s).map_err(|e| Error::other(e).context(name))
}

/// A library of NVIDIA's that is not the driver.
pub(super) struct Wanted {
    /// Its name without prefix and ending: `nvrtc`.
    pub name: &'static str,
    /// Versions that have the functions, the newest first.
    pub versions: &'static [&'static str],
    /// The environment variable with its path.
    pub variable: &'static str,
    /// What it is, for messages.
    pub about: &'static str,
    /// What brings it.
    pub remedy: &'static str,
}

impl Wanted {
    /// The library: at the path in its variable, else where the loader finds it, else in the folder of CUDA or of a Python environment
    /// that is active.
    ///
    /// # Safety
    /// Loading the library does nothing but its own initialisation.
    ///
    /// # Errors
    /// If it is in none of these places.
    pub unsafe fn open(&self) -> Result<Library> {
        // SAFETY: by the caller.
        let found = self.candidates().into_iter().find_map(|name| unsafe { Library::new(&name) }.ok());
        found.ok_or_else(|| {
            let remedy = format!("{}, or set {} to the path of lib{}.so", self.remedy, self.variable, self.name);
            Error::new(format!("{} lib{} is not installed", self.about, self.name)).note("remedy", remedy)
        })
    }

    /// Where the library may be, the likeliest first.
    fn candidates(&self) -> Vec<OsString> {
        if let Some(path) = std::env::var_os(self.variable) {
            return vec![path];
        }
        let plain = format!("lib{}.so", self.name);
        let versioned: Vec<String> = self.versions.iter().map(|v| format!("{plain}.{v}")).collect();
        let mut names: Vec<OsString> = versioned.iter().chain([&plain]).map(OsString::from).collect();
        let roots = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from);
        names.extend(roots.chain([PathBuf::from("/usr/local/cuda")]).map(|root| root.join("lib64").join(&plain).into()));
        if let Some(environment) = std::env::var_os("VIRTUAL_ENV") {
            // <environment>/lib/python3.x/site-packages/nvidia/<package>/lib/libnvrtc.so.13
            let python = folders(&Path::new(&environment).join("lib"));
            let packages = python.iter().flat_map(|p| folders(&p.join("site-packages/nvidia")));
            names.extend(packages.flat_map(|p| versioned.iter().map(move |v| p.join("lib").join(v).into()).collect::<Vec<_>>()));
        }
        names
    }
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}
