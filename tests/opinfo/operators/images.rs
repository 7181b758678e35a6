//! Convolution, pooling, padding and sampling.

use super::shapes::pairs;
use super::{Operator, one, two};
use crate::call::{Call, Outputs, Problem, unsupported};
use igneous::{
    ConvOptions, ConvTransposeOptions, Corners, Extents, Interpolation, Outside, PadMode, PaddingOptions, PoolOptions, Tensor,
};

pub fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "conv1d" => |c| conv::<1>(c, Tensor::conv1d),
        "conv2d" => |c| conv::<2>(c, Tensor::conv2d),
        "conv3d" => |c| conv::<3>(c, Tensor::conv3d),
        "conv_transpose1d" => |c| transposed::<1>(c, Tensor::conv_transpose1d),
        "conv_transpose2d" => |c| transposed::<2>(c, Tensor::conv_transpose2d),
        "conv_transpose3d" => |c| transposed::<3>(c, Tensor::conv_transpose3d),
        "max_pool1d" => |c| max_pool::<1>(c, |x, p| x.max_pool1d(p), |x, p| x.max_pool1d_with_indices(p)),
        "max_pool2d" => |c| max_pool::<2>(c, |x, p| x.max_pool2d(p), |x, p| x.max_pool2d_with_indices(p)),
        "max_pool3d" => |c| max_pool::<3>(c, |x, p| x.max_pool3d(p), |x, p| x.max_pool3d_with_indices(p)),
        "avg_pool1d" => |c| avg_pool::<1>(c, |x, p| x.avg_pool1d(p)),
        "avg_pool2d" => |c| avg_pool::<2>(c, |x, p| x.avg_pool2d(p)),
        "avg_pool3d" => |c| avg_pool::<3>(c, |x, p| x.avg_pool3d(p)),
        "adaptive_avg_pool1d" => |c| adaptive::<1>(c, |x, s| x.adaptive_avg_pool1d(s)),
        "adaptive_avg_pool2d" => |c| adaptive::<2>(c, |x, s| x.adaptive_avg_pool2d(s)),
        "adaptive_avg_pool3d" => |c| adaptive::<3>(c, |x, s| x.adaptive_avg_pool3d(s)),
        "adaptive_max_pool1d" => |c| adaptive::<1>(c, |x, s| x.adaptive_max_pool1d(s)),
        "adaptive_max_pool2d" => |c| adaptive::<2>(c, |x, s| x.adaptive_max_pool2d(s)),
        "adaptive_max_pool3d" => |c| adaptive::<3>(c, |x, s| x.adaptive_max_pool3d(s)),
        "pad" => pad,
        "pixel_shuffle" => |c| one(c.x()?.pixel_shuffle(c.int(1, "upscale_factor", 1)?.unsigned_abs() as usize)),
        "pixel_unshuffle" => |c| one(c.x()?.pixel_unshuffle(c.int(1, "downscale_factor", 1)?.unsigned_abs() as usize)),
        "unfold" => |c| {
            let kernel: [usize; 2] = c.extents(1, "kernel_size", 1)?;
            let (dilation, padding, stride): ([usize; 2], [usize; 2], [usize; 2]) =
                (c.extents(2, "dilation", 1)?, c.extents(3, "padding", 0)?, c.extents(4, "stride", 1)?);
            one(c.x()?.unfold_patches(kernel, dilation, padding, stride))
        },
        "fold" => |c| {
            let (size, kernel): ([usize; 2], [usize; 2]) = (c.extents(1, "output_size", 1)?, c.extents(2, "kernel_size", 1)?);
            let (dilation, padding, stride): ([usize; 2], [usize; 2], [usize; 2]) =
                (c.extents(3, "dilation", 1)?, c.extents(4, "padding", 0)?, c.extents(5, "stride", 1)?);
            one(c.x()?.fold_patches(size, kernel, dilation, padding, stride))
        },
        "interpolate" => |c| {
            let aligned = c.flag(4, "align_corners", false)?;
            interpolate(c, c.text(3, "mode", "nearest")?, aligned)
        },
        "upsample_nearest" => |c| interpolate(c, "nearest", false),
        "upsample_bilinear" => |c| interpolate(c, "bilinear", true),
        "grid_sample" => grid_sample,
        _ => return None,
    })
}

fn each<const N: usize>(c: &Call, place: usize, name: &'static str, default: usize) -> Result<Extents<N>, Problem> {
    Ok(Extents(c.extents(place, name, default)?))
}

fn conv<const N: usize>(c: &Call, f: fn(&Tensor, &Tensor, Option<&Tensor>, ConvOptions<N>) -> Tensor) -> Outputs {
    let (x, weight, bias) = (c.x()?, c.tensor(1, "weight")?, c.optional_tensor(2, "bias")?);
    let padding = match c.get(4, "padding").and_then(|v| v.as_str()) {
        Some("same") => PaddingOptions::Same,
        Some("valid") => PaddingOptions::Each(0.into()),
        Some(other) => return unsupported(format!("padding {other}")),
        None => PaddingOptions::Each(each(c, 4, "padding", 0)?),
    };
    let options = ConvOptions {
        stride: each(c, 3, "stride", 1)?,
        padding,
        dilation: each(c, 5, "dilation", 1)?,
        groups: c.int(6, "groups", 1)?.unsigned_abs() as usize,
        ..Default::default()
    };
    one(f(&x, &weight, bias.as_ref(), options))
}

fn transposed<const N: usize>(c: &Call, f: fn(&Tensor, &Tensor, Option<&Tensor>, ConvTransposeOptions<N>) -> Tensor) -> Outputs {
    let (x, weight, bias) = (c.x()?, c.tensor(1, "weight")?, c.optional_tensor(2, "bias")?);
    let options = ConvTransposeOptions {
        stride: each(c, 3, "stride", 1)?,
        padding: each(c, 4, "padding", 0)?,
        output_padding: each(c, 5, "output_padding", 0)?,
        groups: c.int(6, "groups", 1)?.unsigned_abs() as usize,
        dilation: each(c, 7, "dilation", 1)?,
    };
    one(f(&x, &weight, bias.as_ref(), options))
}

fn window<const N: usize>(c: &Call) -> Result<PoolOptions<N>, Problem> {
    let kernel: Extents<N> = each(c, 1, "kernel_size", 1)?;
    let mut pool = PoolOptions::new(kernel);
    let stride = c.optional_ints(2, "stride")?.is_some_and(|s| !s.is_empty());
    if stride {
        pool = pool.stride(each::<N>(c, 2, "stride", 1)?);
    }
    Ok(pool.padding(each::<N>(c, 3, "padding", 0)?))
}

fn max_pool<const N: usize>(
    c: &Call,
    plain: fn(&Tensor, PoolOptions<N>) -> Tensor,
    indexed: fn(&Tensor, PoolOptions<N>) -> (Tensor, Tensor),
) -> Outputs {
    let mut pool = window::<N>(c)?.dilation(each::<N>(c, 4, "dilation", 1)?);
    if c.flag(5, "ceil_mode", false)? {
        pool = pool.ceil();
    }
    match c.flag(6, "return_indices", false)? {
        true => two(indexed(&c.x()?, pool)),
        false => one(plain(&c.x()?, pool)),
    }
}

fn avg_pool<const N: usize>(c: &Call, f: fn(&Tensor, PoolOptions<N>) -> Tensor) -> Outputs {
    let mut pool = window::<N>(c)?;
    if c.flag(4, "ceil_mode", false)? {
        pool = pool.ceil();
    }
    if !c.flag(5, "count_include_pad", true)? {
        pool = pool.without_padding();
    }
    if c.get(6, "divisor_override").is_some() {
        pool = pool.divisor(c.float(6, "divisor_override", 1.0)?);
    }
    one(f(&c.x()?, pool))
}

/// A size may leave an axis as it is.
fn adaptive<const N: usize>(c: &Call, f: fn(&Tensor, Extents<N>) -> Tensor) -> Outputs {
    let x = c.x()?;
    if c.flag(2, "return_indices", false)? {
        return unsupported("adaptive pooling with indices");
    }
    let mut size = [0; N];
    for (i, size) in size.iter_mut().enumerate() {
        let given = match c.get(1, "output_size") {
            Some(serde_json::Value::Array(list)) if list.len() == 1 => list.first(),
            Some(serde_json::Value::Array(list)) => list.get(i),
            other => other,
        };
        *size = match given.and_then(|v| v.as_u64()) {
            Some(n) => n as usize,
            None => x.size(i as i64 - N as i64).get()?,
        };
    }
    one(f(&x, Extents(size)))
}

fn pad(c: &Call) -> Outputs {
    let (x, widths) = (c.x()?, pairs(&c.ints(1, "pad")?)?);
    let value = c.float(3, "value", 0.0)?;
    let mode = match c.text(2, "mode", "constant")? {
        "constant" => PadMode::Constant(value),
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Replicate,
        "circular" => PadMode::Circular,
        other => return unsupported(format!("the mode {other}")),
    };
    one(x.pad_with(&widths, mode))
}

fn corners(aligned: bool) -> Corners {
    if aligned { Corners::Aligned } else { Corners::Apart }
}

fn interpolate(c: &Call, mode: &str, aligned: bool) -> Outputs {
    let x = c.x()?;
    let mode = match mode {
        "nearest" => Interpolation::Nearest,
        "nearest-exact" => Interpolation::NearestExact,
        "linear" | "bilinear" | "trilinear" => Interpolation::Linear,
        "bicubic" => Interpolation::Cubic,
        "area" => Interpolation::Area,
        other => return unsupported(format!("the mode {other}")),
    };
    let corners = corners(aligned);
    if c.flag(5, "recompute_scale_factor", false)? {
        return unsupported("interpolate with recompute_scale_factor");
    }
    let antialias = c.named_flag("antialias", false)?;
    if antialias && (aligned || c.get(2, "scale_factor").is_some()) {
        return unsupported("interpolate with antialias and aligned corners or a factor");
    }
    let axes = x.rank().saturating_sub(2);
    if let Some(size) = c.optional_ints(1, "size")? {
        let size = super::lengths(&size)?;
        let size = if size.len() == 1 { vec![size[0]; axes] } else { size };
        return one(if antialias { x.interpolate_antialiased(&size, mode) } else { x.interpolate(&size, mode, corners) });
    }
    let factors: Vec<f64> = match c.get(2, "scale_factor") {
        Some(serde_json::Value::Array(list)) => list.iter().filter_map(|v| v.as_f64()).collect(),
        _ => vec![c.float(2, "scale_factor", 1.0)?; axes],
    };
    one(x.interpolate_by(&factors, mode, corners))
}

fn grid_sample(c: &Call) -> Outputs {
    let mode = match c.text(2, "mode", "bilinear")? {
        "bilinear" => Interpolation::Linear,
        "nearest" => Interpolation::Nearest,
        "bicubic" => Interpolation::Cubic,
        other => return unsupported(format!("the mode {other}")),
    };
    let outside = match c.text(3, "padding_mode", "zeros")? {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return unsupported(format!("the padding mode {other}")),
    };
    one(c.x()?.grid_sample(&c.tensor(1, "grid")?, mode, outside, corners(c.flag(4, "align_corners", false)?)))
}
