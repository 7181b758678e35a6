//! Conversions, and choice by a condition: the pointwise operators whose operands differ in type.

use super::*;

/// The records of this file.
pub static CONVERSIONS: &[&Record] = &[&BITCAST, &CAST, &SELECT];

/// The same bits read as another type of the same width.
pub fn bitcast(dtype: DType) -> Op {
    Op::new(&BITCAST, [Attr::DType(dtype)])
}

/// See [`bitcast()`].
pub static BITCAST: Record = Record {
    name: "bitcast",
    attrs: &[("dtype", AttrKind::DType)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let ([x], to) = (rule.operands()?, op.dtype("dtype"));
        let whole = x.dtype != DType::Bool && to != DType::Bool;
        rule.ensure(whole && x.dtype.size() == to.size(), || format!("needs types of equal width, not {} and {to}", x.dtype))?;
        one(x.with_dtype(to))
    },
    reference: |r| Ok(vec![Array::from_bytes(r.results[0].dtype, r.inputs[0].shape(), &r.inputs[0].to_bytes())?]),
    lowering: Lowering::Map(|i| i.load(0, i.index).bitcast(i.results[0].dtype)),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Elementwise,
    flops: |_, _, _| Dim::ZERO,
    samples: |s| {
        let pairs = [(DType::F32, DType::I32), (DType::F32, DType::U32), (DType::F64, DType::I64)];
        for (from, to) in pairs {
            s.add(bitcast(to), [(TensorType::new(from, [2, 5]), Fill::Normal)]);
        }
        // Exponents of ordinary numbers: every pattern in the range is one.
        let range = Fill::Range(0x3f00_0000, 0x4000_0000);
        s.add(bitcast(DType::F32), [(TensorType::new(DType::U32, [7]), range)]);
        s.add(bitcast(DType::F32), [(TensorType::new(DType::I32, [7]), range)]);
        s.add(bitcast(DType::I8), [(TensorType::new(DType::U8, [70]), Fill::Range(0, 256))]);
        s.add(bitcast(DType::U8), [(TensorType::new(DType::I8, [70]), Fill::Range(-128, 128))]);
    },
    error_samples: |s| {
        s.add(bitcast(DType::F32), [(TensorType::new(DType::I64, [2]), Fill::Range(0, 2))]);
        s.add(bitcast(DType::Bool), [(TensorType::new(DType::U8, [2]), Fill::Range(0, 2))]);
    },
};

/// Conversion. Float to integer truncates and saturates, NaN gives 0; integers wrap; to bool: whether it is not 0.
pub fn cast(dtype: DType) -> Op {
    Op::new(&CAST, [Attr::DType(dtype)])
}

/// See [`cast()`].
pub static CAST: Record = Record {
    name: "cast",
    attrs: &[("dtype", AttrKind::DType)],
    infer: |op, operands| {
        let [x] = TypeRule::new(op, operands).operands()?;
        one(x.with_dtype(op.dtype("dtype")))
    },
    reference: |r| {
        let dtype = r.results[0].dtype;
        let truncated = |x: f64| match dtype {
            DType::I64 => x as i64,
            DType::I32 => i64::from(x as i32),
            DType::U32 => i64::from(x as u32),
            DType::U8 => i64::from(x as u8),
            DType::I8 => i64::from(x as i8),
            _ => (x != 0.0).into(),
        };
        let value = |i: usize| match r.inputs[0].data() {
            Data::Float(v) if dtype.is_float() => Number::Float(v[i]),
            Data::Float(v) => Number::Int(truncated(v[i])),
            Data::Int(v) if dtype == DType::Bool => (v[i] != 0).into(),
            Data::Int(v) => Number::Int(v[i]),
        };
        Ok(vec![collect(r, value)])
    },
    lowering: Lowering::Map(|i| i.load(0, i.index).cast(i.results[0].dtype)),
    vjp: Vjp::Rule(|a| {
        let (x, to) = (a.x(0), a.op.dtype("dtype"));
        vec![(x.dtype().is_float() && to.is_float()).then(|| a.dy(0).cast(x.dtype()))]
    }),
    jvp: Jvp::Rule(|a| {
        let to = a.op.dtype("dtype");
        vec![a.tangents[0].filter(|_| to.is_float()).map(|t| t.cast(to))]
    }),
    batch: Batch::Elementwise,
    flops: |_, _, results| results[0].elements(),
    samples: |s| {
        for from in DType::ALL {
            for to in DType::ALL {
                let fill = match from {
                    DType::Bool => Fill::Range(0, 2),
                    _ if !from.is_float() => Fill::Range(0, 100),
                    _ if to.is_float() => Fill::Normal,
                    _ => Fill::Specials,
                };
                s.add(cast(to), [(TensorType::new(from, [3, 7]), fill)]);
            }
        }
        for to in [DType::U8, DType::I8] {
            s.add(cast(to), [(TensorType::new(DType::I64, [19]), Fill::Range(-600, 600))]);
            s.add(cast(to), [(TensorType::new(DType::I32, [70]), Fill::Range(-600, 600))]);
        }
        for to in [DType::U8, DType::U32, DType::I64, DType::F32, DType::F64] {
            s.add(cast(to), [(TensorType::new(DType::I8, [70]), Fill::Range(-128, 128))]);
        }
        s.add(cast(DType::I8), [(TensorType::new(DType::U8, [70]), Fill::Range(0, 256))]);
        s.add(cast(DType::F16), [(TensorType::new(DType::F32, [16]), Fill::Specials)]);
        s.add(cast(DType::BF16), [(TensorType::new(DType::F32, [16]), Fill::Specials)]);
    },
    error_samples: |s| s.add(cast(DType::F32), []),
};

/// `if c { a } else { b }`, element by element; `c` is bool.
pub fn select() -> Op {
    Op::new(&SELECT, [])
}

/// See [`select()`].
pub static SELECT: Record = Record {
    name: "select",
    attrs: &[],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [_, a, _] = rule.operands()?;
        rule.dtype(0, DType::Bool)?;
        rule.same_dtype(1, 2)?;
        rule.same_shape(0, 1)?;
        rule.same_shape(0, 2)?;
        one(a.clone())
    },
    reference: |r| {
        let source = |i: usize| if r.inputs[0].i(i) != 0 { r.inputs[1] } else { r.inputs[2] };
        let value = |i: usize| match source(i).data() {
            Data::Float(v) => Number::Float(v[i]),
            Data::Int(v) => Number::Int(v[i]),
        };
        Ok(vec![collect(r, value)])
    },
    lowering: Lowering::Map(|i| i.load(0, i.index).select(i.load(1, i.index), i.load(2, i.index))),
    vjp: Vjp::Rule(|a| {
        let [c, _, _] = operands(&a.operands);
        let dy = a.dy(0);
        cotangents(a, [&|| c, &|| c.select(dy, dy.lit(0.0)), &|| c.select(dy.lit(0.0), dy)])
    }),
    jvp: Jvp::Rule(|a| {
        let [c, _, _] = operands(&a.operands);
        let y = a.results[0];
        let side = |k: usize| a.tangents[k].unwrap_or_else(|| y.lit(0.0));
        let moves = y.dtype().is_float() && (a.tangents[1].is_some() || a.tangents[2].is_some());
        vec![moves.then(|| c.select(side(1), side(2)))]
    }),
    batch: Batch::Elementwise,
    flops: |_, _, results| results[0].elements(),
    samples: |s| {
        let condition = |shape: [usize; 2]| (TensorType::new(DType::Bool, shape), Fill::Range(0, 2));
        for dtype in DType::ALL {
            let fill = if dtype.is_float() { Fill::Normal } else { Fill::Range(0, 2) };
            let side = (TensorType::new(dtype, [3, 5]), fill);
            s.add(select(), [condition([3, 5]), side.clone(), side]);
        }
        let specials = (TensorType::new(DType::F32, [16, 16]), Fill::Specials);
        s.add(select(), [condition([16, 16]), specials.clone(), specials]);
    },
    error_samples: |s| {
        let ty = |dtype: DType, n: usize| (TensorType::new(dtype, [n]), Fill::Range(0, 2));
        s.add(select(), [ty(DType::F32, 2), ty(DType::F32, 2), ty(DType::F32, 2)]);
        s.add(select(), [ty(DType::Bool, 2), ty(DType::F32, 2), ty(DType::F64, 2)]);
        s.add(select(), [ty(DType::Bool, 2), ty(DType::F32, 3), ty(DType::F32, 3)]);
        s.add(select(), [ty(DType::Bool, 2), ty(DType::F32, 2)]);
    },
};
