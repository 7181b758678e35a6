//! Activation functions, by the names of `torch.nn.functional`.

use super::{Tensor, or_invalid};
use crate::location::entered;
use igneous_ir::{Error, ops};

impl Tensor {
    /// Gaussian error linear unit, exact: `self · Φ(self)`. Hendrycks & Gimpel 2016, arXiv:1606.08415.
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        self.as_float().apply(ops::gelu("none"))
    }

    /// The `tanh` approximation of [`gelu`](Tensor::gelu).
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        self.as_float().apply(ops::gelu("tanh"))
    }

    /// `self` where positive, elsewhere `slope · self`.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        let x = self.as_float();
        x.where_(&x.gt(0.0), &x * slope)
    }

    /// `self` where positive, elsewhere `weight · self`; `weight` has one element, or one for each channel (axis 1).
    #[track_caller]
    pub fn prelu(&self, weight: &Tensor) -> Tensor {
        let user = entered();
        let (x, loc) = (self.as_float(), user.loc());
        let each = x.check().and_then(|()| {
            let count = weight.ty()?.elements();
            if weight.rank() > 1 || (count != 1 && (x.rank() < 2 || x.size(1) != count)) {
                let error = Error::new("prelu needs one weight, or one for each channel");
                return Err(error.note("tensor", self.describe()).note("weight", weight.describe()));
            }
            let shape: Vec<i64> = (0..x.rank().max(1)).map(|axis| if count != 1 && axis == 1 { -1 } else { 1 }).collect();
            Ok(if count == 1 { weight.reshape(()) } else { weight.reshape(&shape) })
        });
        or_invalid(each.map(|weight| x.where_(&x.gt(0.0), &x * weight)).map_err(|e| e.at(loc)))
    }

    /// `self` where positive, elsewhere `alpha · (e^self − 1)`. Clevert et al. 2015, arXiv:1511.07289.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        let x = self.as_wide();
        (x.where_(&x.gt(0.0), x.minimum(0.0).expm1() * alpha)).rounded_as(self)
    }

    /// `self` where positive, elsewhere `alpha · (e^(self / alpha) − 1)`. Barron 2017, arXiv:1704.07483.
    #[track_caller]
    pub fn celu(&self, alpha: f64) -> Tensor {
        let x = self.as_wide();
        (x.where_(&x.gt(0.0), (x.minimum(0.0) / alpha).expm1() * alpha)).rounded_as(self)
    }

    /// The self-normalising exponential unit. Klambauer et al. 2017, arXiv:1706.02515.
    #[track_caller]
    pub fn selu(&self) -> Tensor {
        const ALPHA: f64 = 1.673_263_242_354_377_2;
        const SCALE: f64 = 1.050_700_987_355_480_5;
        (self.as_wide().elu(ALPHA) * SCALE).rounded_as(self)
    }

    /// Limited to `min..max`; at a bound there is no gradient.
    #[track_caller]
    pub fn hardtanh(&self, min: f64, max: f64) -> Tensor {
        let x = self.as_float();
        let above = x.masked_fill(&x.le(min), min);
        above.masked_fill(&x.ge(max), max)
    }

    /// Limited to 0..6.
    #[track_caller]
    pub fn relu6(&self) -> Tensor {
        self.hardtanh(0.0, 6.0)
    }

    /// `self / 6 + 1/2`, limited to 0..1.
    #[track_caller]
    pub fn hardsigmoid(&self) -> Tensor {
        ((self.as_wide() + 3.0).hardtanh(0.0, 6.0) / 6.0).rounded_as(self)
    }

    /// `self · hardsigmoid(self)`. Howard et al. 2019, arXiv:1905.02244.
    #[track_caller]
    pub fn hardswish(&self) -> Tensor {
        let x = self.as_wide();
        let middle = &x * (&x + 3.0) / 6.0;
        let below = middle.masked_fill(&x.le(-3.0), 0.0);
        x.where_(&x.ge(3.0), below).rounded_as(self)
    }

    /// `self · tanh(softplus(self))`. Misra 2019, arXiv:1908.08681.
    #[track_caller]
    pub fn mish(&self) -> Tensor {
        let x = self.as_wide();
        (&x * x.softplus().tanh()).rounded_as(self)
    }

    /// `log(sigmoid(self))`, without overflow.
    #[track_caller]
    pub fn logsigmoid(&self) -> Tensor {
        (-(-self.as_wide()).softplus()).rounded_as(self)
    }

    /// `log(1 + e^(beta · self)) / beta`, and `self` where `beta · self` is above `threshold` (`torch.nn.functional.softplus`, whose
    /// defaults are 1 and 20).
    #[track_caller]
    pub fn softplus_with(&self, beta: f64, threshold: f64) -> Tensor {
        let x = self.as_wide();
        let scaled = &x * beta;
        (x.where_(&scaled.gt(threshold), scaled.softplus() / beta)).rounded_as(self)
    }

    /// Moved toward 0 by `lambda`; what crosses it is 0.
    #[track_caller]
    pub fn softshrink(&self, lambda: f64) -> Tensor {
        let x = self.as_float();
        let above = (&x - lambda).where_(&x.gt(lambda), &x * 0.0);
        (&x + lambda).where_(&x.lt(-lambda), above)
    }

    /// `self` beyond ±`lambda`, elsewhere 0.
    #[track_caller]
    pub fn hardshrink(&self, lambda: f64) -> Tensor {
        let x = self.as_float();
        x.masked_fill(&(x.ge(-lambda) & x.le(lambda)), 0.0)
    }

    /// `self − tanh(self)`.
    #[track_caller]
    pub fn tanhshrink(&self) -> Tensor {
        let x = self.as_wide();
        (&x - x.tanh()).rounded_as(self)
    }

    /// `self / (1 + |self|)`.
    #[track_caller]
    pub fn softsign(&self) -> Tensor {
        let x = self.as_wide();
        (&x / (x.abs() + 1.0)).rounded_as(self)
    }

    /// `self` above `threshold`, elsewhere `value`.
    #[track_caller]
    pub fn threshold(&self, threshold: f64, value: f64) -> Tensor {
        self.masked_fill(&self.le(threshold), value)
    }

    /// The first half along an axis times the sigmoid of the second. Dauphin et al. 2016, arXiv:1612.08083.
    #[track_caller]
    pub fn glu(&self, axis: i64) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let halves = self.axis(axis).and_then(|at| {
            let extent = self.shape()[at];
            if extent.rem(2) != 0 {
                return Err(Error::new("glu needs an even number of elements along its axis").note("tensor", self.describe()));
            }
            let half = extent.div_floor(igneous_ir::Dim::from(2usize));
            Ok((self.narrow(axis, 0, half), self.narrow(axis, half, half)))
        });
        or_invalid(halves.map(|(a, b)| (a.as_wide() * b.as_wide().sigmoid()).rounded_as(self)).map_err(|e| e.at(loc)))
    }

    /// The softmax of `−self` along an axis.
    #[track_caller]
    pub fn softmin(&self, axis: i64) -> Tensor {
        (-self.as_wide()).softmax(axis).rounded_as(self)
    }
}
