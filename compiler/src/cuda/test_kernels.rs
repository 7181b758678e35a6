//! Kernels for tests: of their texts here, of what those compute where they are run.

/// Name and text of kernels that together use every template.
pub const KERNELS: [(&str, &str); 21] = [
    (
        "pointwise",
        "\
kernel gelu_gate(x: f32[33, 7], c: f32[33, 7], a: f32[]) -> (y: f32[33, 7], big: bool[33, 7])
  axes i: par 33, j: par 7
  map {
    let t1 = x[i, j] * a + 1.0
    y[i, j] = max(t1, 0.0) * sqrt(abs(c[i, j])) - x[i, j] / 3.0
    big[i, j] = t1 > 0.5
  }
",
    ),
    (
        "broadcast",
        "\
kernel bias(x: bf16[64, 48], b: bf16[48], row: f32[64]) -> (y: bf16[64, 48], t: f32[48, 64])
  axes i: par 64, j: par 48
  y[i, j] = bf16(f32(x[i, j]) * row[i]) + b[j]
  t[j, i] = f32(x[i, j])
",
    ),
    (
        "softmax",
        "\
kernel softmax(x: f32[8, 100], b: f32[100]) -> (y: f32[8, 100])
  axes i: par 8, j: ser 100
  m, s = reduce online_softmax j { x[i, j] + b[j] }
  map j { y[i, j] = exp(x[i, j] + b[j] - m) / s }
",
    ),
    (
        "layer_norm",
        "\
kernel layer_norm(x: f32[B, T], w: f32[T], b: f32[T]) -> (y: f32[B, T], mean: f32[B], rstd: f32[B])
  dims B: 1..=64, T: 1..=8192
  axes i: par B, j: ser T
  mu, m2 = reduce welford j { x[i, j] }
  r = 1.0 / sqrt(m2 / f32(dim(T)) + 1e-5)
  map {
    mean[i] = mu
    rstd[i] = r
  }
  map j { y[i, j] = (x[i, j] - mu) * r * w[j] + b[j] }
",
    ),
    (
        "columns",
        "\
kernel column_sum(dy: f32[300, 20], x: f32[300, 20]) -> (db: f32[20], dw: f32[20], at: i64[20])
  axes j: par 20, i: ser 300
  s = reduce sum i { dy[i, j] }
  p = reduce max i { dy[i, j] * x[i, j] }
  k = reduce argmin i { dy[i, j] }
  map {
    db[j] = s
    dw[j] = p
    at[j] = k
  }
",
    ),
    (
        "adam",
        "\
kernel adam(w0: f32[100], g0: f32[100], m0: f32[100], w1: f32[7], g1: f32[7], m1: f32[7], lr: f32[]) -> \
(w0.new: f32[100], m0.new: f32[100], w1.new: f32[7], m1.new: f32[7])
  section
    axes i: par 100
    map {
      let t1 = m0[i] * 0.9 + g0[i] * 0.1
      w0.new[i] = w0[i] - lr * t1
      m0.new[i] = t1
    }
  section
    axes i: par 7
    map {
      let t1 = m1[i] * 0.9 + g1[i] * 0.1
      w1.new[i] = w1[i] - lr * t1
      m1.new[i] = t1
    }
",
    ),
    (
        "long_rows",
        "\
kernel total(x: f32[3, 50000], n: i64[3, 50000]) -> (y: f32[3], at: i64[3], p: i64[3])
  axes i: par 3, j: ser 50000
  s = reduce sum j { x[i, j] }
  k = reduce argmax j { x[i, j] }
  q = reduce prod j { n[i, j] }
  map {
    y[i] = s
    at[i] = k
    p[i] = q
  }
",
    ),
    (
        "kept_row",
        "\
kernel row(x: f16[6, 96]) -> (y: f16[6, 96], total: f32[6])
  axes i: par 6, j: ser 96
  map j { h[j] = f32(x[i, j]) * 2.0 }
  s = reduce sum j { h[95 - j] }
  total[i] = s
  map j { y[i, j] = f16(h[j] - s) }
",
    ),
    (
        "window",
        "\
kernel pool(x: f32[2, 3, 8, 8]) -> (y: f32[2, 3, 4, 4], at: i64[2, 3, 4, 4], mean: f32[2, 3, 4, 4])
  axes n: par 2, c: par 3, i: par 4, j: par 4, u: ser 2, v: ser 2
  m = reduce max u v { x[n, c, i * 2 + u, j * 2 + v] }
  k = reduce argmax u v { x[n, c, i * 2 + u, j * 2 + v] }
  s = reduce sum u v { x[n, c, i * 2 + u, j * 2 + v] }
  map {
    y[n, c, i, j] = m
    at[n, c, i, j] = k
    mean[n, c, i, j] = s * 0.25
  }
",
    ),
    (
        "gather",
        "\
kernel embedding(ids: i64[B, T], table: f32[500, 16]) -> (y: f32[B, T, 16])
  dims B: 1..=64, T: 1..=1024
  axes b: par B, t: par T, c: par 16
  check 3 { (ids[b, t] >= 0) & (ids[b, t] < 500) } { ids[b, t] }
  y[b, t, c] = table[min(max(ids[b, t], 0), 499), c]
",
    ),
    (
        "integers",
        "\
kernel integers(x: i64[50], n: i32[50], u: u32[50], f: f64[50], b: u8[50]) -> \
(y: i64[50], m: i32[50], v: u32[50], g: f64[50], c: u8[50], h: f16[50])
  axes i: par 50
  map {
    y[i] = (x[i] * 7 - i) / -3 % 5 + i64(f[i])
    m[i] = -n[i] / 3 + abs(n[i]) % 7 ^ (n[i] << 2)
    v[i] = mulhi(u[i] >> 3, 3528531795) + u[i] * 2654435769
    g[i] = f[i] % 1.5 + f64(x[i]) * floor(f[i])
    c[i] = b[i] * 3 - u8(f[i])
    h[i] = f16(f[i]) + f16(n[i])
  }
",
    ),
    (
        "bytes",
        "\
kernel bytes(x: i8[50], y: i8[50], f: f32[50]) -> (a: i8[50], b: i8[50], w: i32[50])
  axes i: par 50
  map {
    a[i] = max(-x[i] * y[i] + x[i], i8(f[i])) / y[i]
    b[i] = abs(x[i]) % 7 ^ (y[i] << 2) ^ !(x[i] >> 1)
    w[i] = i32(x[i]) * i32(y[i]) - i32(u8(x[i]))
  }
",
    ),
    (
        "flip",
        "\
kernel flip(x: f32[6, 8], p: f32[5]) -> (y: f32[6, 8], z: f32[6, 8])
  axes i: par 6, j: par 8
  y[i, j] = select(j < 5, p[min(j, 4)], x[i, 7 - j])
  z[i, j] = f32(i * 8 + j) + y[i, j]
",
    ),
    (
        "half_rows",
        "\
kernel half(x: f16[2, 3, 5, 14]) -> (y: f16[2, 3], n: f16[2, 3], z: f16[2, 3, 5, 14])
  axes a: par 2, b: par 3, j: ser 5, k: ser 14
  m, s = reduce online_softmax j k { x[a, b, j, k] }
  mu, q = reduce welford j k { x[a, b, j, k] }
  map {
    y[a, b] = mu + s
    n[a, b] = q
  }
  map j k { z[a, b, j, k] = exp(x[a, b, j, k] - m) / s + tanh(x[a, b, j, k]) }
",
    ),
    (
        "long_columns",
        "\
kernel moments(x: f64[T, 20]) -> (mean: f64[20], m2: f64[20], largest: f64[20])
  dims T: 1..=100000
  axes j: par 20, i: ser T
  mu, q = reduce welford i { x[i, j] }
  k = reduce max i { log1p(abs(x[i, j])) }
  map {
    mean[j] = mu
    m2[j] = q
    largest[j] = k
  }
",
    ),
    (
        "short_rows",
        "\
kernel short(x: f32[7, 12], n: i64[7, 12]) -> (y: f32[7, 12], at: i64[7])
  axes i: par 7, j: ser 12
  map j { h[j] = x[i, j] * 0.5 }
  m, s = reduce online_softmax j { h[11 - j] }
  k = reduce argmin j { n[i, j] }
  check 2 j { n[i, j] > 0 } { n[i, j] }
  at[i] = k
  map j { y[i, j] = exp(h[j] - m) / s }
",
    ),
    (
        "dot",
        "\
kernel linear(x: f32[4, 8], w: bf16[8, 2], b: f32[2]) -> (y: f32[4, 2])
  axes i: par 4, j: par 2, k: ser 8
  s = dot k m(i) n(j) { x[i, k] } { f32(w[k, j]) }
  y[i, j] = max(s + b[j], 0.0)
",
    ),
    (
        "scatter",
        "\
kernel add_at(at: i64[99], u: f16[99]) -> (y: f16[4], last: f16[4])
  axes i: ser 4, k: ser 99
  m = reduce max k { u[k] }
  map i {
    y[i] = m
    last[i] = 0.0
  }
  map k { y[at[k]] += u[k] }
  map k { last[at[k]] = u[k] }
",
    ),
    (
        "scatter_add",
        "\
kernel add_rows(at: i64[99], u: f32[99, 8], n: i64[99]) -> (y: f32[50, 8], count: i64[50])
  section
    axes j: par 8, i: ser 50, k: ser 99
    map i { y[i, j] = 0.0 }
    map k { y[at[k], j] += u[k, j] }
  section
    axes i: ser 50, k: ser 99
    map i { count[i] = 0 }
    map k { count[at[k]] += n[k] }
",
    ),
    (
        "transposed",
        "\
kernel transposed(x: f32[3, 40, 50], h: bf16[40, 50], c: f32[3, 50, 40]) -> (y: f32[3, 50, 40])
  axes n: par 3, i: par 50, j: par 40
  y[n, i, j] = x[n, j, i] * c[n, i, j] + f32(h[j, i])
",
    ),
    (
        "long_local",
        "\
kernel reversed(x: f32[N, 20000]) -> (y: f32[N, 20000])
  dims N: 1..=100
  axes i: par N, k: ser 20000
  map k { h[k] = x[i, k] * 2.0 }
  s = reduce sum k { h[k] }
  map k { y[i, k] = h[19999 - k] / s }
",
    ),
];
