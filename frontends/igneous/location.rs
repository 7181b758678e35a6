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

/// While this lives, what this crate's own lines do on this thread belongs to a line of the user: `#[track_caller]` does not
/// reach into closures.
pub(crate) struct Entered {
    loc: Loc,
    before: Option<Loc>,
}

impl Entered {
    /// The user's line.
    pub(crate) fn loc(&self) -> Loc {
        self.loc
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CALLED_FROM.set(self.before);
    }
}

/// The function this stands in, which has `#[track_caller]`, was called by the user's line.
#[track_caller]
pub(crate) fn entered() -> Entered {
    entered_from(here())
}

fn entered_from(loc: Loc) -> Entered {
    Entered { loc, before: CALLED_FROM.replace(Some(loc)) }
}

/// Runs `f` as called from `loc`.
pub(crate) fn called_from<R>(loc: Loc, f: impl FnOnce() -> R) -> R {
    let _user = entered_from(of_user(loc));
    f()
}
