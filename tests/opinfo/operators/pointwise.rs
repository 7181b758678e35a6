//! Elementwise operators.

use super::{Operator, one};
use crate::call::{Call, Outputs, Problem, unsupported};
use igneous::{DType, Tensor, where_};

macro_rules! unary {
    ($name:expr; $($op:literal $method:ident;)*) => {
        match $name {
            $($op => return Some(|c| one(c.x()?.$method())),)*
            _ => {}
        }
    };
}

macro_rules! binary {
    ($name:expr; $($op:literal $method:ident;)*) => {
        match $name {
            $($op => return Some(|c| one(c.x()?.$method(&c.tensor(1, "other")?))),)*
            _ => {}
        }
    };
}

pub fn find(name: &str) -> Option<Operator> {
    unary! { name;
        "abs" abs; "absolute" abs; "acos" acos; "arccos" acos; "asin" asin; "arcsin" asin; "atan" atan; "arctan" atan;
        "acosh" acosh; "asinh" asinh; "atanh" atanh; "ceil" ceil; "cos" cos; "cosh" cosh; "erf" erf; "erfc" erfc;
        "exp" exp; "exp2" exp2; "expm1" expm1; "floor" floor; "frac" frac; "isfinite" isfinite; "isinf" isinf;
        "isnan" isnan; "log" log; "log10" log10; "log1p" log1p; "log2" log2; "logical_not" logical_not; "neg" neg_;
        "negative" neg_; "positive" identity; "reciprocal" reciprocal; "rsqrt" rsqrt; "sigmoid" sigmoid; "sign" sign;
        "sgn" sign; "sin" sin; "sinc" sinc; "sinh" sinh; "sqrt" sqrt; "square" square; "tan" tan; "tanh" tanh; "trunc" trunc;
        "fix" trunc; "bitwise_not" bitwise_not; "clone" identity; "contiguous" identity;
    }
    binary! { name;
        "atan2" atan2; "arctan2" atan2; "eq" equal; "ne" ne; "not_equal" ne; "lt" lt; "less" lt; "le" le; "less_equal" le;
        "gt" gt; "greater" gt; "ge" ge; "greater_equal" ge; "fmod" fmod; "remainder" remainder; "hypot" hypot;
        "logaddexp" logaddexp; "logaddexp2" logaddexp2; "logical_and" logical_and; "logical_or" logical_or;
        "logical_xor" logical_xor; "maximum" maximum; "minimum" minimum; "xlogy" xlogy; "copysign" copysign;
        "floor_divide" floor_divide; "mul" times; "multiply" times;
    }
    Some(match name {
        "add" => |c| one(c.x()? + scaled(c)?),
        "sub" | "subtract" => |c| one(c.x()? - scaled(c)?),
        "rsub" => |c| one(c.tensor(1, "other")? - c.x()? * c.named_float("alpha", 1.0)?),
        "div" | "true_divide" | "divide" => divide,
        "pow" => pow,
        "float_power" => |c| one(c.x()?.to_dtype(igneous::DType::F64).pow(&c.tensor(1, "exponent")?)),
        "clamp" | "clip" => clamp,
        "clamp_min" => |c| one(c.x()?.clamp_min(&c.tensor(1, "min")?)),
        "clamp_max" => |c| one(c.x()?.clamp_max(&c.tensor(1, "max")?)),
        "round" => |c| one(c.x()?.round_decimals(c.int(1, "decimals", 0)? as i32)),
        "nan_to_num" => nan_to_num,
        "lerp" => lerp,
        "addcmul" => |c| one(c.x()?.addcmul(&c.tensor(1, "tensor1")?, &c.tensor(2, "tensor2")?, c.named_float("value", 1.0)?)),
        "addcdiv" => |c| one(c.x()?.addcdiv(&c.tensor(1, "tensor1")?, &c.tensor(2, "tensor2")?, c.named_float("value", 1.0)?)),
        "logit" => |c| {
            let eps = c.get(1, "eps").is_some().then(|| c.float(1, "eps", 0.0)).transpose()?;
            one(c.x()?.logit(eps))
        },
        // In PyTorch's samples the condition comes second.
        "where" => |c| match c.x()?.dtype() {
            DType::Bool => one(where_(&c.x()?, &c.tensor(1, "input")?, &c.tensor(2, "other")?)),
            _ => one(where_(&c.tensor(1, "condition")?, &c.x()?, &c.tensor(2, "other")?)),
        },
        "isclose" => |c| {
            let (a, b) = (c.x()?, c.tensor(1, "other")?);
            let close = a.isclose(&b, c.float(2, "rtol", 1e-5)?, c.float(3, "atol", 1e-8)?);
            one(if c.flag(4, "equal_nan", false)? { close.logical_or(&a.isnan().logical_and(&b.isnan())) } else { close })
        },
        "fill" => |c| {
            let value = c.float(1, "value", 0.0)?;
            one(c.x()?.full_like(value))
        },
        "full_like" => |c| {
            let value = c.float(1, "fill_value", 0.0)?;
            one(like(c, 2)?.full_like(value))
        },
        "zeros_like" => |c| one(like(c, 1)?.zeros_like()),
        "ones_like" => |c| one(like(c, 1)?.ones_like()),
        "to" | "type_as" => |c| one(c.x()?.to_dtype(c.tensor(1, "other")?.dtype())),
        _ => return None,
    })
}

/// What operators are written as.
trait Written {
    fn neg_(&self) -> Tensor;
    fn identity(&self) -> Tensor;
    fn times(&self, other: &Tensor) -> Tensor;
}

impl Written for Tensor {
    fn neg_(&self) -> Tensor {
        -self
    }

    fn identity(&self) -> Tensor {
        self.clone()
    }

    fn times(&self, other: &Tensor) -> Tensor {
        self * other
    }
}

/// What a new tensor is to be like.
fn like(c: &Call, place: usize) -> Result<Tensor, Problem> {
    if c.named("device").is_some_and(|d| d != "cpu") {
        return unsupported("another device");
    }
    c.named("layout");
    let x = c.x()?;
    let dtype = c.dtype(place)?;
    Ok(dtype.map_or_else(|| x.clone(), |dtype| x.to_dtype(dtype)))
}

/// The other operand times `alpha`.
fn scaled(c: &Call) -> Result<Tensor, Problem> {
    let other = c.tensor(1, "other")?;
    match c.named("alpha") {
        None => Ok(other),
        Some(alpha) if alpha.is_i64() => Ok(&other * alpha.as_i64().unwrap_or(1)),
        Some(_) => Ok(&other * c.named_float("alpha", 1.0)?),
    }
}

fn divide(c: &Call) -> Outputs {
    let quotient = c.x()? / c.tensor(1, "other")?;
    match c.named("rounding_mode").and_then(|v| v.as_str()) {
        None => one(quotient),
        Some("floor") => one(c.x()?.floor_divide(&c.tensor(1, "other")?)),
        Some("trunc") => one(quotient.trunc()),
        Some(other) => unsupported(format!("rounding mode {other}")),
    }
}

fn pow(c: &Call) -> Outputs {
    if !c.is_tensor(1, "exponent") {
        let x = c.x()?;
        return one(x.pow(c.float(1, "exponent", 1.0)?));
    }
    one(c.x()?.pow(&c.tensor(1, "exponent")?))
}

fn clamp(c: &Call) -> Outputs {
    let mut x = c.x()?;
    if let Some(min) = c.optional_tensor(1, "min")? {
        x = x.clamp_min(&min);
    }
    if let Some(max) = c.optional_tensor(2, "max")? {
        x = x.clamp_max(&max);
    }
    one(x)
}

fn nan_to_num(c: &Call) -> Outputs {
    let bound = |place, name| c.get(place, name).is_some().then(|| c.float(place, name, 0.0)).transpose();
    one(c.x()?.nan_to_num(c.float(1, "nan", 0.0)?, bound(2, "posinf")?, bound(3, "neginf")?))
}

fn lerp(c: &Call) -> Outputs {
    let (x, end) = (c.x()?, c.tensor(1, "end")?);
    if c.is_tensor(2, "weight") {
        return one(x.lerp(&end, &c.tensor(2, "weight")?));
    }
    one(x.lerp(&end, c.float(2, "weight", 0.0)?))
}
