//! Which line of the user an operation belongs to, when a layer of this crate applies it.
//!
//! `#[track_caller]` carries the user's line through the methods of tensors, but not through `dyn Forward`: so whoever calls
//! a layer through it leaves the user's line here.

use igneous_ir::Loc;
use std::cell::Cell;

thread_local! {
    /// The line of the user that called the layers running now.
    static CALLED_FROM: Cell<Option<Loc>> = const { Cell::new(None) };
}

/// The folder of this crate's sources, as `Location` spells it.
fn own_folder() -> &'static str {
    file!().trim_end_matches("location.rs")
}

/// The user's line: `loc` itself, or, if that lies in this crate, the line that called the running layer.
pub(crate) fn of_user(loc: Loc) -> Loc {
    if loc.file.starts_with(own_folder()) { CALLED_FROM.get().unwrap_or(loc) } else { loc }
}

/// The user's line that called the function this stands in, which has `#[track_caller]`.
#[track_caller]
pub(crate) fn here() -> Loc {
    of_user(Loc::caller())
}

/// Runs `f` as called from `loc`.
pub(crate) fn called_from<R>(loc: Loc, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Loc>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CALLED_FROM.set(self.0);
        }
    }
    let _restore = Restore(CALLED_FROM.replace(Some(of_user(loc))));
    f()
}
