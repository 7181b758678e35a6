//! Activations, normalisation, embedding, attention.

use super::{Operator, one};
use crate::call::{Call, Outputs, Problem, unsupported};
use igneous::{Attention, DType, Tensor};

pub fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "relu" => |c| one(plain(c)?.relu()),
        "relu6" => |c| one(plain(c)?.relu6()),
        "silu" => |c| one(plain(c)?.silu()),
        "mish" => |c| one(plain(c)?.mish()),
        "selu" => |c| one(plain(c)?.selu()),
        "logsigmoid" => |c| one(plain(c)?.logsigmoid()),
        "softsign" => |c| one(plain(c)?.softsign()),
        "tanhshrink" => |c| one(plain(c)?.tanhshrink()),
        "hardswish" => |c| one(plain(c)?.hardswish()),
        "hardsigmoid" => |c| one(plain(c)?.hardsigmoid()),
        "sigmoid" => |c| one(plain(c)?.sigmoid()),
        "tanh" => |c| one(plain(c)?.tanh()),
        "celu" => |c| one(plain(c)?.celu(c.float(1, "alpha", 1.0)?)),
        "elu" => |c| one(plain(c)?.elu(c.float(1, "alpha", 1.0)?)),
        "leaky_relu" => |c| one(plain(c)?.leaky_relu(c.float(1, "negative_slope", 0.01)?)),
        "prelu" => |c| one(c.x()?.prelu(&c.tensor(1, "weight")?)),
        "softplus" => |c| one(c.x()?.softplus_with(c.float(1, "beta", 1.0)?, c.float(2, "threshold", 20.0)?)),
        "hardtanh" => |c| one(plain(c)?.hardtanh(c.float(1, "min_val", -1.0)?, c.float(2, "max_val", 1.0)?)),
        "hardshrink" => |c| one(c.x()?.hardshrink(c.float(1, "lambd", 0.5)?)),
        "softshrink" => |c| one(c.x()?.softshrink(c.float(1, "lambd", 0.5)?)),
        "threshold" => |c| one(plain(c)?.threshold(c.float(1, "threshold", 0.0)?, c.float(2, "value", 0.0)?)),
        "glu" => |c| one(c.x()?.glu(c.int(1, "dim", -1)?)),
        "gelu" => |c| match c.named("approximate").and_then(|v| v.as_str()).unwrap_or("none") {
            "tanh" => one(c.x()?.gelu_tanh()),
            _ => one(c.x()?.gelu()),
        },
        "softmax" => |c| over_axis(c, Tensor::softmax),
        "softmin" => |c| over_axis(c, Tensor::softmin),
        "log_softmax" => |c| over_axis(c, Tensor::log_softmax),
        "linear" => |c| {
            let (x, weight, bias) = (c.x()?, c.tensor(1, "weight")?, c.optional_tensor(2, "bias")?);
            // A weight that is one row.
            if weight.rank() == 1 {
                let product = x.matmul(&weight);
                return one(bias.map_or(product.clone(), |b| product + b));
            }
            one(x.linear(&weight, bias.as_ref()))
        },
        "bilinear" => |c| {
            let bias = c.optional_tensor(3, "bias")?;
            one(c.x()?.bilinear(&c.tensor(1, "input2")?, &c.tensor(2, "weight")?, bias.as_ref()))
        },
        "embedding" => embedding,
        "one_hot" => |c| one(c.x()?.one_hot(c.int(1, "num_classes", 0)?.unsigned_abs() as usize)),
        "normalize" => |c| one(c.x()?.normalize(c.float(1, "p", 2.0)?, c.int(2, "dim", 1)?, c.float(3, "eps", 1e-12)?)),
        "layer_norm" => layer_norm,
        "rms_norm" => |c| {
            let (x, axes, weight) = (c.x()?, c.ints(1, "normalized_shape")?.len(), c.optional_tensor(2, "weight")?);
            let eps = if x.dtype() == DType::F64 { f64::EPSILON } else { f32::EPSILON.into() };
            one(x.rms_norm(axes, weight.as_ref(), c.float(3, "eps", eps)?))
        },
        "group_norm" => |c| {
            let groups = c.int(1, "num_groups", 1)?.unsigned_abs() as usize;
            let (weight, bias) = (c.optional_tensor(2, "weight")?, c.optional_tensor(3, "bias")?);
            one(c.x()?.group_norm(groups, weight.as_ref(), bias.as_ref(), c.float(4, "eps", 1e-5)?))
        },
        "batch_norm" => batch_norm,
        "instance_norm" => instance_norm,
        "local_response_norm" => |c| {
            let size = c.int(1, "size", 1)?.unsigned_abs() as usize;
            one(c.x()?.local_response_norm(size, c.float(2, "alpha", 1e-4)?, c.float(3, "beta", 0.75)?, c.float(4, "k", 1.0)?))
        },
        "scaled_dot_product_attention" => attention,
        _ => return None,
    })
}

/// The argument of a function that can also work in place.
fn plain(c: &Call) -> Result<Tensor, Problem> {
    c.named_flag("inplace", false)?;
    c.x()
}

fn over_axis(c: &Call, f: fn(&Tensor, i64) -> Tensor) -> Outputs {
    let x = match c.dtype(3)? {
        Some(dtype) => c.x()?.to_dtype(dtype),
        None => c.x()?,
    };
    let Some(axis) = c.optional_int(1, "dim")? else { return unsupported("an axis that is not given") };
    one(f(&x, axis))
}

fn embedding(c: &Call) -> Outputs {
    let (indices, table) = (c.x()?, c.tensor(1, "weight")?);
    // In the samples the table comes first.
    let (indices, table) = if indices.dtype().is_float() { (table, indices) } else { (indices, table) };
    if c.named_float("max_norm", f64::INFINITY)? != f64::INFINITY || c.named_flag("scale_grad_by_freq", false)? {
        return unsupported("embedding with max_norm or scale_grad_by_freq");
    }
    if let Some(padding) = c.named("padding_idx").and_then(|v| v.as_i64()) {
        // Rows at that index are read, and get no gradient.
        let padding = if padding < 0 { table.size(0) - padding.unsigned_abs() as usize } else { (padding as usize).into() };
        let rows = Tensor::arange(0, table.size(0)).equal(padding).unsqueeze(1);
        return one(indices.embedding(&table.detach().where_(&rows, &table)));
    }
    one(indices.embedding(&table))
}

fn layer_norm(c: &Call) -> Outputs {
    let (x, shape) = (c.x()?, c.ints(1, "normalized_shape")?);
    let (weight, bias) = (c.optional_tensor(2, "weight")?, c.optional_tensor(3, "bias")?);
    let weight = weight.unwrap_or_else(|| Tensor::ones(&shape));
    let bias = bias.unwrap_or_else(|| Tensor::zeros(&shape));
    one(x.layer_norm(&weight, &bias, c.float(4, "eps", 1e-5)?))
}

fn batch_norm(c: &Call) -> Outputs {
    let (x, weight, bias) = (c.x()?, c.optional_tensor(3, "weight")?, c.optional_tensor(4, "bias")?);
    let (mean, variance) = (c.optional_tensor(1, "running_mean")?, c.optional_tensor(2, "running_var")?);
    let training = c.flag(5, "training", false)?;
    // Running statistics are outputs of training, and not compared.
    c.float(6, "momentum", 0.1)?;
    let eps = c.float(7, "eps", 1e-5)?;
    match (training, mean, variance) {
        // A batch without samples and channels.
        _ if x.rank() == 1 => one(x),
        (false, Some(mean), Some(variance)) => one(x.batch_norm(&mean, &variance, weight.as_ref(), bias.as_ref(), eps)),
        _ => one(x.batch_norm_train(weight.as_ref(), bias.as_ref(), eps).0),
    }
}

fn instance_norm(c: &Call) -> Outputs {
    let (x, weight, bias) = (c.x()?, c.optional_tensor(3, "weight")?, c.optional_tensor(4, "bias")?);
    let (mean, variance) = (c.optional_tensor(1, "running_mean")?, c.optional_tensor(2, "running_var")?);
    let own = c.flag(5, "use_input_stats", true)?;
    c.float(6, "momentum", 0.1)?;
    let eps = c.float(7, "eps", 1e-5)?;
    match (own, mean, variance) {
        (false, Some(mean), Some(variance)) => one(x.batch_norm(&mean, &variance, weight.as_ref(), bias.as_ref(), eps)),
        _ => one(x.instance_norm(weight.as_ref(), bias.as_ref(), eps)),
    }
}

fn attention(c: &Call) -> Outputs {
    let (q, k, v) = (c.x()?, c.tensor(1, "key")?, c.tensor(2, "value")?);
    if c.float(4, "dropout_p", 0.0)? != 0.0 {
        return unsupported("attention with dropout: its random numbers are others");
    }
    let options = Attention {
        mask: c.optional_tensor(3, "attn_mask")?,
        causal: c.flag(5, "is_causal", false)?,
        scale: c.named("scale").map(|_| c.named_float("scale", 1.0)).transpose()?,
        grouped: c.named_flag("enable_gqa", false)? && q.rank() > 3,
        ..Attention::default()
    };
    one(q.scaled_dot_product_attention(&k, &v, &options))
}
