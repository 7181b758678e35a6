//! Products, linear algebra, Fourier transforms.

use super::{Operator, one, two};
use crate::call::{Call, Outputs, unsupported};
use igneous::linalg::{self, Triangle};
use igneous::{Tensor, fft};

pub fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "__rmatmul__" => |c| one(c.tensor(1, "other")?.matmul(&c.x()?)),
        "matmul" => |c| one(c.x()?.matmul(&c.tensor(1, "other")?)),
        "mm" => |c| one(c.x()?.mm(&c.tensor(1, "mat2")?)),
        "bmm" => |c| one(c.x()?.bmm(&c.tensor(1, "mat2")?)),
        "mv" => |c| one(c.x()?.mv(&c.tensor(1, "vec")?)),
        "dot" | "vdot" => |c| one(c.x()?.dot(&c.tensor(1, "tensor")?)),
        "inner" => |c| {
            let (a, b) = (c.x()?, c.tensor(1, "other")?);
            one(if a.rank() == 0 || b.rank() == 0 { a * b } else { a.tensordot(&b, &[-1], &[-1]) })
        },
        "outer" | "ger" => |c| one(c.x()?.outer(&c.tensor(1, "vec2")?)),
        "kron" => |c| one(c.x()?.kron(&c.tensor(1, "other")?)),
        "addmm" => |c| scaled(c, ["mat1", "mat2"], Tensor::addmm),
        "addmv" => |c| scaled(c, ["mat", "vec"], Tensor::addmv),
        "addr" => |c| scaled(c, ["vec1", "vec2"], Tensor::addr),
        "baddbmm" => |c| scaled(c, ["batch1", "batch2"], Tensor::baddbmm),
        "addbmm" => |c| scaled(c, ["batch1", "batch2"], Tensor::addbmm),
        // In PyTorch's samples the tensors come first.
        "einsum" => |c| match c.get(0, "equation").is_some_and(|v| v.is_array()) {
            true => one(Tensor::einsum(c.text(1, "equation", "")?, &c.tensors(0, "operands")?)),
            false => one(Tensor::einsum(c.text(0, "equation", "")?, &c.tensors(1, "operands")?)),
        },
        "tensordot" => tensordot,
        "cdist" => |c| one(c.x()?.cdist(&c.tensor(1, "x2")?, c.float(2, "p", 2.0)?)),
        "cross" | "linalg.cross" => |c| one(c.x()?.cross(&c.tensor(1, "other")?, c.int(2, "dim", -1)?)),
        "cholesky" | "linalg.cholesky" => |c| {
            let l = linalg::cholesky(&c.x()?);
            one(if c.flag(1, "upper", false)? { l.t() } else { l })
        },
        "inverse" | "linalg.inv" => |c| one(linalg::inv(&c.x()?)),
        "linalg.solve" => |c| one(linalg::solve(&c.x()?, &c.tensor(1, "B")?)),
        "linalg.solve_triangular" => solve_triangular,
        "det" | "linalg.det" => |c| one(linalg::det(&c.x()?)),
        "slogdet" | "linalg.slogdet" => |c| two(linalg::slogdet(&c.x()?)),
        "logdet" => |c| one(linalg::slogdet(&c.x()?).1),
        "linalg.svdvals" => |c| one(linalg::svdvals(&c.x()?)),
        "linalg.eigvalsh" => |c| {
            let x = c.x()?;
            one(linalg::eigh(&if c.text(1, "UPLO", "L")? == "U" { x.t() } else { x }).0)
        },
        "linalg.matrix_power" | "matrix_power" => |c| one(linalg::matrix_power(&c.x()?, c.int(1, "n", 1)? as i32)),
        "linalg.pinv" | "pinverse" => |c| {
            if c.named_flag("hermitian", false)? {
                return unsupported("the pseudo-inverse by one triangle");
            }
            one(linalg::pinv(&c.x()?, c.named_float("rtol", 1e-6)?))
        },
        "fft.rfft" => |c| one(fft::rfft(&c.x()?, c.int(2, "dim", -1)?, fft::Norm::Backward)),
        _ => return None,
    })
}

fn scaled(c: &Call, names: [&'static str; 2], f: fn(&Tensor, &Tensor, &Tensor, f64, f64) -> Tensor) -> Outputs {
    let (x, a, b) = (c.x()?, c.tensor(1, names[0])?, c.tensor(2, names[1])?);
    one(f(&x, &a, &b, c.named_float("beta", 1.0)?, c.named_float("alpha", 1.0)?))
}

fn solve_triangular(c: &Call) -> Outputs {
    let (mut a, mut b) = (c.x()?, c.tensor(1, "B")?);
    let mut upper = c.named_flag("upper", false)?;
    let left = c.named_flag("left", true)?;
    if c.named_flag("unitriangular", false)? {
        let off = if upper { a.triu(1) } else { a.tril(-1) };
        a = &off + Tensor::eye(a.size(-1)).to_dtype(a.dtype());
    }
    if !left {
        (a, b, upper) = (a.t(), b.t(), !upper);
    }
    let x = linalg::solve_triangular(&a, &b, if upper { Triangle::Upper } else { Triangle::Lower });
    one(if left { x } else { x.t() })
}

fn tensordot(c: &Call) -> Outputs {
    let (a, b) = (c.x()?, c.tensor(1, "other")?);
    let Some(dims) = c.get(2, "dims") else { return unsupported("tensordot without axes") };
    if let Some(n) = dims.as_i64() {
        let (left, right): (Vec<i64>, Vec<i64>) = ((-n..0).collect(), (0..n).collect());
        return one(a.tensordot(&b, &left, &right));
    }
    match dims.as_array().map(|d| d.iter().map(crate::call::ints).collect::<Option<Vec<_>>>()) {
        Some(Some(axes)) if axes.len() == 2 => one(a.tensordot(&b, &axes[0], &axes[1])),
        _ => unsupported(format!("the axes {dims}")),
    }
}
