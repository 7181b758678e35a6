//! Kernels that the tests of this folder share.

use super::*;
use crate::scalar::{MathFn, ScalarOp};
use crate::types::Literal;

/// A softmax over rows, built node by node.
pub(super) fn softmax() -> Kernel {
    let mut exprs = Exprs::default();
    let i = exprs.raw(ScalarOp::Axis(0), &[], DType::I64);
    let j = exprs.raw(ScalarOp::Axis(1), &[], DType::I64);
    let x = exprs.raw(ScalarOp::Load(0), &[i, j], DType::F32);
    let m = exprs.raw(ScalarOp::Local(0), &[], DType::F32);
    let s = exprs.raw(ScalarOp::Local(1), &[], DType::F32);
    let difference = exprs.raw(ScalarOp::Sub, &[x, m], DType::F32);
    let power = exprs.raw(ScalarOp::Math(MathFn::Exp), &[difference], DType::F32);
    let value = exprs.raw(ScalarOp::Div, &[power, s], DType::F32);
    let ty = TensorType::new(DType::F32, [8, 32]);
    let local = |name: &str| Local { name: name.into(), dtype: DType::F32, axes: vec![] };
    let store = Store { value, to: Target::Param { param: 1, index: vec![i, j], combine: None } };
    Kernel {
        name: "softmax".into(),
        params: vec![
            Param { name: "x".into(), ty: ty.clone(), access: Access::Read },
            Param { name: "y".into(), ty, access: Access::Write },
        ],
        sections: vec![Section {
            axes: vec![
                Axis { name: "i".into(), extent: Dim::from(8), kind: AxisKind::Parallel },
                Axis { name: "j".into(), extent: Dim::from(32), kind: AxisKind::Serial },
            ],
            locals: vec![local("m"), local("s")],
            exprs,
            stages: vec![
                Stage::Reduce { kind: ReduceKind::OnlineSoftmax, axes: vec![1], body: x, to: vec![0, 1] },
                Stage::Map { axes: vec![1], stores: vec![store] },
            ],
            schedule: vec![Directive::Bind(0), Directive::Vec(1, 4)],
        }],
        locs: vec![Loc { file: "examples/gpt.rs", line: 41 }],
    }
}

pub(super) const SOFTMAX: &str = "\
kernel softmax(x: f32[8, 32]) -> (y: f32[8, 32])  // examples/gpt.rs:41
  axes i: par 8, j: ser 32
  m, s = reduce online_softmax j { x[i, j] }
  map j { y[i, j] = exp(x[i, j] - m) / s }
  schedule bind(i, core) vec(j, 4)
";

#[test]
fn a_kernel_built_by_hand_prints_and_verifies() {
    let kernel = softmax();
    assert_eq!(kernel.to_string(), SOFTMAX);
    kernel.verify().unwrap();
}

#[test]
fn structure_has_no_names() {
    let mut other = softmax();
    other.name = "other".into();
    other.params[0].name = "logits".into();
    other.locs.clear();
    assert_eq!(other.structure(), softmax().structure());
    other.sections[0].stages.truncate(1);
    assert_ne!(other.structure(), softmax().structure());
}

#[test]
fn shared_and_long_subexpressions_become_lets() {
    let mut kernel = softmax();
    let exprs = &mut kernel.sections[0].exprs;
    let x = ExprId(2);
    let half = exprs.constant(Literal::float(DType::F32, 0.5));
    let product = exprs.raw(ScalarOp::Mul, &[x, half], DType::F32);
    let mut sum = exprs.raw(ScalarOp::Mul, &[product, product], DType::F32);
    for _ in 0..1000 {
        sum = exprs.raw(ScalarOp::Add, &[sum, x], DType::F32);
    }
    kernel.sections[0].stages[0] = Stage::Reduce { kind: ReduceKind::OnlineSoftmax, axes: vec![1], body: sum, to: vec![0, 1] };
    let text = kernel.to_string();
    assert!(text.contains("    let t1 = x[i, j] * 0.5\n    let t2 = t1 * t1 + x[i, j] + "), "{text}");
    assert!(text.lines().all(|l| l.len() < 500) && text.len() < 15_000, "{text}");
}

#[test]
fn a_softmax_can_be_written_over_its_input() {
    assert!(softmax().can_alias(0, 1));
    assert!(!softmax().can_alias(1, 0), "roles matter");
    let mut twice = softmax();
    twice.sections.push(twice.sections[0].clone());
    assert!(!twice.can_alias(0, 1), "another section may still load what this one has overwritten");
}
