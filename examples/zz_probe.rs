//! probe
use igneous::*;
use std::time::Instant;
fn time(name: &str, n: usize, f: impl Fn()) {
    f();
    f();
    let t = Instant::now();
    for _ in 0..n {
        f();
    }
    println!("{name}: {:.2} us", t.elapsed().as_secs_f64() * 1e6 / n as f64);
}
fn main() -> Result<()> {
    let x = Tensor::randn((8, 8));
    let y = Tensor::randn((8, 8));
    let p = Tensor::parameter(Tensor::randn((8, 8)));
    time("add", 20000, || {
        let _ = &x + &y;
    });
    time("add scalar", 20000, || {
        let _ = &x + 1.0;
    });
    time("exp", 20000, || {
        let _ = x.exp();
    });
    time("matmul", 20000, || {
        let _ = x.matmul(&y);
    });
    time("reshape", 20000, || {
        let _ = x.reshape((64,));
    });
    time("param add (tape)", 20000, || {
        let _ = &p + &y;
    });
    time("sum_all", 20000, || {
        let _ = x.sum_all();
    });
    time("softmax", 20000, || {
        let _ = x.softmax(-1);
    });
    time("backward mul sum", 2000, || {
        (&p * &y).sum_all().backward().unwrap();
        p.zero_grad();
    });
    let f = compile(|x: Tensor, y: Tensor| &x + &y);
    time("compiled add", 20000, || {
        let _ = f.run((x.clone(), y.clone())).unwrap();
    });
    let w = Tensor::parameter(Tensor::randn((8, 8)));
    let g = compile(|x: Tensor| {
        let l = (&x * &w).sum_all();
        l.backward()?;
        w.update(|v| v - w.take_grad().unwrap() * 0.1)?;
        Ok(l)
    });
    time("compiled step", 20000, || {
        let _ = g.run(x.clone()).unwrap();
    });
    let t = Instant::now();
    let h = compile(|x: Tensor| x.matmul(&w).relu().matmul(&w).softmax(-1).sum_all());
    h.run(x.clone())?;
    println!("compile {:.2} ms", t.elapsed().as_secs_f64() * 1e3);
    let big = Tensor::randn((64, 784));
    let wt = Tensor::randn((512, 784));
    time("matmul t big", 200, || {
        let _ = big.matmul(&wt.t());
    });
    let wt2 = Tensor::randn((784, 512));
    time("matmul big", 200, || {
        let _ = big.matmul(&wt2);
    });
    Ok(())
}
