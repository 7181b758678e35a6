//! Small device functions that generated kernels call. Only those that a kernel uses are written into its text.

use std::collections::BTreeSet;

/// Name, the functions it calls itself, text.
type Helper = (&'static str, &'static [&'static str], &'static str);

/// In an order in which they can be defined.
const HELPERS: &[Helper] = &[
    // Maximum and minimum give NaN if either side is NaN; -0 is below +0.
    (
        "max_f32",
        &[],
        "float max_f32(float a, float b) { return a != a || b != b ? a + b : a > b || (a == b && __float_as_int(a) >= 0) ? a : b; }",
    ),
    (
        "min_f32",
        &[],
        "float min_f32(float a, float b) { return a != a || b != b ? a + b : a < b || (a == b && __float_as_int(a) < 0) ? a : b; }",
    ),
    (
        "max_f64",
        &[],
        "double max_f64(double a, double b) { return a != a || b != b ? a + b : a > b || (a == b && __double_as_longlong(a) >= 0) ? a : b; }",
    ),
    (
        "min_f64",
        &[],
        "double min_f64(double a, double b) { return a != a || b != b ? a + b : a < b || (a == b && __double_as_longlong(a) < 0) ? a : b; }",
    ),
    // Remainders have the sign of the divisor.
    (
        "rem_f32",
        &[],
        "float rem_f32(float a, float b) { float r = fmodf(a, b); return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r; }",
    ),
    (
        "rem_f64",
        &[],
        "double rem_f64(double a, double b) { double r = fmod(a, b); return r != 0.0 && (r < 0.0) != (b < 0.0) ? r + b : r; }",
    ),
    // Integer arithmetic wraps; quotients are rounded down; by zero gives zero.
    ("add_i32", &[], "int add_i32(int a, int b) { return (int)((unsigned)a + (unsigned)b); }"),
    ("sub_i32", &[], "int sub_i32(int a, int b) { return (int)((unsigned)a - (unsigned)b); }"),
    ("mul_i32", &[], "int mul_i32(int a, int b) { return (int)((unsigned)a * (unsigned)b); }"),
    (
        "div_i32",
        &["sub_i32"],
        "int div_i32(int a, int b) { return b == 0 ? 0 : b == -1 ? sub_i32(0, a) : a / b - (a % b != 0 && (a < 0) != (b < 0)); }",
    ),
    (
        "rem_i32",
        &[],
        "int rem_i32(int a, int b) { if (b == 0 || b == -1) return 0; int r = a % b; return r != 0 && (r < 0) != (b < 0) ? r + b : r; }",
    ),
    (
        "add_i64",
        &[],
        "long long add_i64(long long a, long long b) { return (long long)((unsigned long long)a + (unsigned long long)b); }",
    ),
    (
        "sub_i64",
        &[],
        "long long sub_i64(long long a, long long b) { return (long long)((unsigned long long)a - (unsigned long long)b); }",
    ),
    (
        "mul_i64",
        &[],
        "long long mul_i64(long long a, long long b) { return (long long)((unsigned long long)a * (unsigned long long)b); }",
    ),
    (
        "div_i64",
        &["sub_i64"],
        "long long div_i64(long long a, long long b) { return b == 0 ? 0 : b == -1 ? sub_i64(0, a) : a / b - (a % b != 0 && (a < 0) != (b < 0)); }",
    ),
    (
        "rem_i64",
        &[],
        "long long rem_i64(long long a, long long b) { if (b == 0 || b == -1) return 0; long long r = a % b; return r != 0 && (r < 0) != (b < 0) ? r + b : r; }",
    ),
    ("min_i32", &[], "int min_i32(int a, int b) { return a < b ? a : b; }"),
    ("max_i32", &[], "int max_i32(int a, int b) { return a > b ? a : b; }"),
    ("min_i64", &[], "long long min_i64(long long a, long long b) { return a < b ? a : b; }"),
    ("max_i64", &[], "long long max_i64(long long a, long long b) { return a > b ? a : b; }"),
    ("min_u32", &[], "unsigned min_u32(unsigned a, unsigned b) { return a < b ? a : b; }"),
    ("max_u32", &[], "unsigned max_u32(unsigned a, unsigned b) { return a > b ? a : b; }"),
    ("abs_i32", &["sub_i32"], "int abs_i32(int a) { return a < 0 ? sub_i32(0, a) : a; }"),
    ("abs_i64", &["sub_i64"], "long long abs_i64(long long a) { return a < 0 ? sub_i64(0, a) : a; }"),
    ("div_u32", &[], "unsigned div_u32(unsigned a, unsigned b) { return b == 0 ? 0 : a / b; }"),
    ("rem_u32", &[], "unsigned rem_u32(unsigned a, unsigned b) { return b == 0 ? 0 : a % b; }"),
    // Half types are computed with in float and rounded after each operation.
    (
        "from_f16",
        &[],
        "float from_f16(unsigned short h) { float f; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(f) : \"h\"(h)); return f; }",
    ),
    (
        "to_f16",
        &[],
        "unsigned short to_f16(float f) { unsigned short h; asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(h) : \"f\"(f)); return h; }",
    ),
    ("round_f16", &["from_f16", "to_f16"], "float round_f16(float f) { return from_f16(to_f16(f)); }"),
    ("from_bf16", &[], "float from_bf16(unsigned short h) { return __uint_as_float((unsigned)h << 16); }"),
    (
        "to_bf16",
        &[],
        "unsigned short to_bf16(float f) { unsigned u = __float_as_uint(f); return (unsigned short)((f != f ? u | 0x400000u : u + 0x7fffu + (u >> 16 & 1u)) >> 16); }",
    ),
    ("round_bf16", &["from_bf16", "to_bf16"], "float round_bf16(float f) { return from_bf16(to_bf16(f)); }"),
    // Rounded to odd, so that rounding the result once more to a half type rounds once.
    (
        "odd_f32",
        &[],
        "float odd_f32(double x) { float f = __double2float_rz(x); return (double)f == x || x != x ? f : __uint_as_float(__float_as_uint(f) | 1u); }",
    ),
    // Conversions to integers truncate and saturate; NaN gives zero.
    ("f32_to_i64", &[], "long long f32_to_i64(float x) { return x != x ? 0 : __float2ll_rz(x); }"),
    ("f64_to_i64", &[], "long long f64_to_i64(double x) { return x != x ? 0 : __double2ll_rz(x); }"),
    ("f32_to_i32", &[], "int f32_to_i32(float x) { return x != x ? 0 : __float2int_rz(x); }"),
    ("f64_to_i32", &[], "int f64_to_i32(double x) { return x != x ? 0 : __double2int_rz(x); }"),
    ("f32_to_u32", &[], "unsigned f32_to_u32(float x) { return x != x ? 0 : __float2uint_rz(x); }"),
    ("f64_to_u32", &[], "unsigned f64_to_u32(double x) { return x != x ? 0 : __double2uint_rz(x); }"),
    (
        "f32_to_u8",
        &["f32_to_u32"],
        "unsigned char f32_to_u8(float x) { unsigned u = f32_to_u32(x); return (unsigned char)(u > 255 ? 255 : u); }",
    ),
    (
        "f64_to_u8",
        &["f64_to_u32"],
        "unsigned char f64_to_u8(double x) { unsigned u = f64_to_u32(x); return (unsigned char)(u > 255 ? 255 : u); }",
    ),
    (
        "f32_to_i8",
        &["f32_to_i32"],
        "signed char f32_to_i8(float x) { int i = f32_to_i32(x); return (signed char)(i > 127 ? 127 : i < -128 ? -128 : i); }",
    ),
    (
        "f64_to_i8",
        &["f64_to_i32"],
        "signed char f64_to_i8(double x) { int i = f64_to_i32(x); return (signed char)(i > 127 ? 127 : i < -128 ? -128 : i); }",
    ),
    // Whether (a, i) comes before (b, j) in an arg-reduction: a NaN first, then the extremum, then the smaller index.
    (
        "argmax_f32",
        &[],
        "bool argmax_f32(float a, long long i, float b, long long j) { bool p = a != a, q = b != b; return p || q ? p && (!q || i < j) : a > b || (a == b && i < j); }",
    ),
    (
        "argmin_f32",
        &[],
        "bool argmin_f32(float a, long long i, float b, long long j) { bool p = a != a, q = b != b; return p || q ? p && (!q || i < j) : a < b || (a == b && i < j); }",
    ),
    (
        "argmax_f64",
        &[],
        "bool argmax_f64(double a, long long i, double b, long long j) { bool p = a != a, q = b != b; return p || q ? p && (!q || i < j) : a > b || (a == b && i < j); }",
    ),
    (
        "argmin_f64",
        &[],
        "bool argmin_f64(double a, long long i, double b, long long j) { bool p = a != a, q = b != b; return p || q ? p && (!q || i < j) : a < b || (a == b && i < j); }",
    ),
    (
        "argmax_i64",
        &[],
        "bool argmax_i64(long long a, long long i, long long b, long long j) { return a > b || (a == b && i < j); }",
    ),
    (
        "argmin_i64",
        &[],
        "bool argmin_i64(long long a, long long i, long long b, long long j) { return a < b || (a == b && i < j); }",
    ),
    // Sixteen bytes or four to shared memory without waiting, zeros if they are outside; then the end of a group, and waiting for all
    // groups but the last, or for all.
    (
        "copy_async",
        &[],
        "void copy_async(void* to, const void* from, bool inside) { asm volatile(\"cp.async.cg.shared.global [%0], [%1], 16, %2;\" :: \"r\"((unsigned)__cvta_generic_to_shared(to)), \"l\"(from), \"r\"(inside ? 16 : 0) : \"memory\"); }",
    ),
    (
        "copy_async_word",
        &[],
        "void copy_async_word(void* to, const void* from, bool inside) { asm volatile(\"cp.async.ca.shared.global [%0], [%1], 4, %2;\" :: \"r\"((unsigned)__cvta_generic_to_shared(to)), \"l\"(from), \"r\"(inside ? 4 : 0) : \"memory\"); }",
    ),
    ("copy_commit", &[], "void copy_commit() { asm volatile(\"cp.async.commit_group;\" ::: \"memory\"); }"),
    ("copy_wait", &[], "void copy_wait() { asm volatile(\"cp.async.wait_group 1;\" ::: \"memory\"); }"),
    ("copy_wait_all", &[], "void copy_wait_all() { asm volatile(\"cp.async.wait_group 0;\" ::: \"memory\"); }"),
    // Four 8×8 matrices of half types, whose rows of sixteen bytes the lanes name, eight for each; each lane gets two neighbours of a row
    // of each, or of a column.
    (
        "load_matrices",
        &[],
        "void load_matrices(unsigned* to, const void* row) { asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\" : \"=r\"(to[0]), \"=r\"(to[1]), \"=r\"(to[2]), \"=r\"(to[3]) : \"r\"((unsigned)__cvta_generic_to_shared(row)) : \"memory\"); }",
    ),
    (
        "load_matrices_turned",
        &[],
        "void load_matrices_turned(unsigned* to, const void* row) { asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\" : \"=r\"(to[0]), \"=r\"(to[1]), \"=r\"(to[2]), \"=r\"(to[3]) : \"r\"((unsigned)__cvta_generic_to_shared(row)) : \"memory\"); }",
    ),
    // Two numbers rounded to a half type, the first in the lower bits.
    (
        "pack_f16",
        &[],
        "unsigned pack_f16(float a, float b) { unsigned p; asm(\"cvt.rn.f16x2.f32 %0, %1, %2;\" : \"=r\"(p) : \"f\"(b), \"f\"(a)); return p; }",
    ),
    (
        "pack_bf16",
        &[],
        "unsigned pack_bf16(float a, float b) { unsigned p; asm(\"cvt.rn.bf16x2.f32 %0, %1, %2;\" : \"=r\"(p) : \"f\"(b), \"f\"(a)); return p; }",
    ),
    // To about 22 bits, and zero instead of denormal numbers.
    (
        "exp2_approx",
        &[],
        "float exp2_approx(float x) { float y; asm(\"ex2.approx.ftz.f32 %0, %1;\" : \"=f\"(y) : \"f\"(x)); return y; }",
    ),
    // c += a · b, of 16×16 and 16×8 elements that the lanes of a warp hold.
    (
        "mma_f16",
        &[],
        "void mma_f16(float* c, const unsigned* a, const unsigned* b) { asm volatile(\"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\" : \"+f\"(c[0]), \"+f\"(c[1]), \"+f\"(c[2]), \"+f\"(c[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1])); }",
    ),
    (
        "mma_bf16",
        &[],
        "void mma_bf16(float* c, const unsigned* a, const unsigned* b) { asm volatile(\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\" : \"+f\"(c[0]), \"+f\"(c[1]), \"+f\"(c[2]), \"+f\"(c[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1])); }",
    ),
    // The same of 16×32 and 32×8 bytes, with sums in 32-bit integers.
    (
        "mma_i8",
        &[],
        "void mma_i8(int* c, const unsigned* a, const unsigned* b) { asm volatile(\"mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\" : \"+r\"(c[0]), \"+r\"(c[1]), \"+r\"(c[2]), \"+r\"(c[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1])); }",
    ),
    // Reports a failed check; the first report stays.
    (
        "report",
        &[],
        "void report(unsigned long long* error, unsigned long long run, unsigned long long code, long long value) { if (atomicCAS(error, 0ull, run >> 32 << 32 | code) == 0ull) ((long long*)error)[1] = value; }",
    ),
];

/// The names of all helpers, so that generated names avoid them.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    HELPERS.iter().map(|h| h.0)
}

/// The definitions of `used` and what they call.
pub(super) fn text(used: &BTreeSet<&'static str>) -> String {
    let mut needed = used.clone();
    for (name, calls, _) in HELPERS.iter().rev() {
        if needed.contains(name) {
            needed.extend(*calls);
        }
    }
    let mut out = String::new();
    for (_, _, definition) in HELPERS.iter().filter(|h| needed.contains(h.0)) {
        out.push_str("__device__ inline ");
        out.push_str(definition);
        out.push('\n');
    }
    out
}

/// The helper called `name`, as a static string.
pub(super) fn helper(name: &str) -> &'static str {
    names().find(|n| *n == name).unwrap_or_else(|| unreachable!("no helper is called {name}"))
}
