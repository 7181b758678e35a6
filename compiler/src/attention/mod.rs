//! What is done about attention that no rewrite rule can say: functions of scores of any form, heads that share keys and values, and what
//! functions are given on a back end that computes nothing else beside them.

mod function;
mod grouped;
mod hoist;

pub(crate) use function::recognise;
pub(crate) use grouped::split_groups;
pub(crate) use hoist::{Hoisted, hoist};
