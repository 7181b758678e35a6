//! The vector instructions that strips use.

use super::encode::{Held, Op};

const NONE: u8 = 0;
const P66: u8 = 1;
const PF3: u8 = 2;
const PF2: u8 = 3;

const fn op(name: &'static str, map: u8, prefix: u8, opcode: u8, w: u8, element: u8) -> Op {
    Op { name, vex_name: "", map, prefix, opcode, w: (w, w), element, memory: Held::Vector(0), commutes: false, narrows: false }
}

/// An operation on packed singles.
const fn ps(name: &'static str, opcode: u8) -> Op {
    op(name, 1, NONE, opcode, 0, 4)
}

/// An operation on packed doubles.
const fn pd(name: &'static str, opcode: u8) -> Op {
    op(name, 1, P66, opcode, 1, 8)
}

/// An operation on 32-bit integers of the map `0F38`.
const fn word(name: &'static str, opcode: u8) -> Op {
    op(name, 2, P66, opcode, 0, 4)
}

/// An operation on 64-bit integers of the map `0F38`.
const fn long(name: &'static str, opcode: u8) -> Op {
    op(name, 2, P66, opcode, 1, 8)
}

/// An operation with an immediate of the map `0F3A`.
const fn coded(name: &'static str, opcode: u8, w: u8) -> Op {
    op(name, 3, P66, opcode, w, if w == 0 { 4 } else { 8 })
}

impl Op {
    const fn commuting(self) -> Op {
        Op { commutes: true, ..self }
    }

    /// A memory operand of this size.
    const fn holding(self, memory: Held) -> Op {
        Op { memory, element: 0, ..self }
    }

    /// No `W` in the VEX form.
    const fn narrow_vex(self) -> Op {
        Op { w: (self.w.0, 0), ..self }
    }

    const fn in_vex(self, vex_name: &'static str) -> Op {
        Op { vex_name, ..self }
    }

    const fn narrowing(self) -> Op {
        Op { narrows: true, ..self }
    }

    const fn plain(self) -> Op {
        Op { element: 0, ..self }
    }
}

macro_rules! table {
    ($($name:ident = $op:expr;)*) => {
        $(pub(super) static $name: Op = $op;)*
        /// All of them, for tests.
        #[cfg(test)]
        pub(super) static ALL: &[&Op] = &[$(&$name),*];
    };
}

table! {
    ADD_PS = ps("vaddps", 0x58).commuting();
    ADD_PD = pd("vaddpd", 0x58).commuting();
    SUB_PS = ps("vsubps", 0x5c);
    SUB_PD = pd("vsubpd", 0x5c);
    MUL_PS = ps("vmulps", 0x59).commuting();
    MUL_PD = pd("vmulpd", 0x59).commuting();
    DIV_PS = ps("vdivps", 0x5e);
    DIV_PD = pd("vdivpd", 0x5e);
    MIN_PS = ps("vminps", 0x5d);
    MIN_PD = pd("vminpd", 0x5d);
    MAX_PS = ps("vmaxps", 0x5f);
    MAX_PD = pd("vmaxpd", 0x5f);
    SQRT_PS = ps("vsqrtps", 0x51);
    SQRT_PD = pd("vsqrtpd", 0x51);
    AND_PS = ps("vandps", 0x54).commuting();
    AND_PD = pd("vandpd", 0x54).commuting();
    ANDN_PS = ps("vandnps", 0x55);
    ANDN_PD = pd("vandnpd", 0x55);
    OR_PS = ps("vorps", 0x56).commuting();
    OR_PD = pd("vorpd", 0x56).commuting();
    XOR_PS = ps("vxorps", 0x57).commuting();
    XOR_PD = pd("vxorpd", 0x57).commuting();
    ROUND_PS = coded("vrndscaleps", 0x08, 0).in_vex("vroundps");
    ROUND_PD = coded("vrndscalepd", 0x09, 1).in_vex("vroundpd");
    RANGE_PS = coded("vrangeps", 0x50, 0);
    RANGE_PD = coded("vrangepd", 0x50, 1);
    FMA132_PS = word("vfmadd132ps", 0x98);
    FMA132_PD = long("vfmadd132pd", 0x98);
    FMA213_PS = word("vfmadd213ps", 0xa8);
    FMA213_PD = long("vfmadd213pd", 0xa8);
    FMA231_PS = word("vfmadd231ps", 0xb8);
    FMA231_PD = long("vfmadd231pd", 0xb8);
    SCALEF_PS = word("vscalefps", 0x2c);
    SCALEF_PD = long("vscalefpd", 0x2c);
    CMP_PS = ps("vcmpps", 0xc2);
    CMP_PD = pd("vcmppd", 0xc2);
    BLENDM_PS = word("vblendmps", 0x65);
    BLENDM_PD = long("vblendmpd", 0x65);
    BLENDV_PS = coded("vblendvps", 0x4a, 0);
    BLENDV_PD = op("vblendvpd", 3, P66, 0x4b, 0, 8);

    ADD_D = op("vpaddd", 1, P66, 0xfe, 0, 4).commuting();
    ADD_Q = op("vpaddq", 1, P66, 0xd4, 1, 8).commuting();
    SUB_D = op("vpsubd", 1, P66, 0xfa, 0, 4);
    SUB_Q = op("vpsubq", 1, P66, 0xfb, 1, 8);
    MUL_D = word("vpmulld", 0x40).commuting();
    MUL_Q = long("vpmullq", 0x40).commuting();
    MULU_DQ = op("vpmuludq", 1, P66, 0xf4, 1, 8).commuting();
    MIN_SD = word("vpminsd", 0x39).commuting();
    MIN_UD = word("vpminud", 0x3b).commuting();
    MIN_SQ = long("vpminsq", 0x39).commuting();
    MAX_SD = word("vpmaxsd", 0x3d).commuting();
    MAX_UD = word("vpmaxud", 0x3f).commuting();
    MAX_SQ = long("vpmaxsq", 0x3d).commuting();
    ABS_D = word("vpabsd", 0x1e);
    ABS_Q = long("vpabsq", 0x1f);
    SHL_D = word("vpsllvd", 0x47);
    SHL_Q = long("vpsllvq", 0x47);
    SHR_D = word("vpsrlvd", 0x45);
    SHR_Q = long("vpsrlvq", 0x45);
    SAR_D = word("vpsravd", 0x46);
    SAR_Q = long("vpsravq", 0x46);
    SHL_D_BY = op("vpslld", 1, P66, 0x72, 0, 4);
    SHR_D_BY = op("vpsrld", 1, P66, 0x72, 0, 4);
    SAR_D_BY = op("vpsrad", 1, P66, 0x72, 0, 4);
    SHL_Q_BY = op("vpsllq", 1, P66, 0x73, 1, 8);
    SHR_Q_BY = op("vpsrlq", 1, P66, 0x73, 1, 8);
    SAR_Q_BY = op("vpsraq", 1, P66, 0x72, 1, 8);
    CMP_D = coded("vpcmpd", 0x1f, 0);
    CMP_UD = coded("vpcmpud", 0x1e, 0);
    CMP_Q = coded("vpcmpq", 0x1f, 1);
    EQ_D = op("vpcmpeqd", 1, P66, 0x76, 0, 4).commuting();
    EQ_Q = op("vpcmpeqq", 2, P66, 0x29, 0, 8).commuting();
    GT_D = op("vpcmpgtd", 1, P66, 0x66, 0, 4);
    GT_Q = op("vpcmpgtq", 2, P66, 0x37, 0, 8);
    TEST_D = word("vptestmd", 0x27);
    TEST_Q = long("vptestmq", 0x27);

    PS_OF_PD = op("vcvtpd2ps", 1, P66, 0x5a, 1, 0).narrow_vex().narrowing();
    PD_OF_PS = op("vcvtps2pd", 1, NONE, 0x5a, 0, 0).holding(Held::Vector(1));
    PS_OF_D = op("vcvtdq2ps", 1, NONE, 0x5b, 0, 0);
    PS_OF_UD = op("vcvtudq2ps", 1, PF2, 0x7a, 0, 0);
    PD_OF_D = op("vcvtdq2pd", 1, PF3, 0xe6, 0, 0).holding(Held::Vector(1));
    PD_OF_UD = op("vcvtudq2pd", 1, PF3, 0x7a, 0, 0).holding(Held::Vector(1));
    PD_OF_Q = op("vcvtqq2pd", 1, PF3, 0xe6, 1, 0);
    PS_OF_Q = op("vcvtqq2ps", 1, NONE, 0x5b, 1, 0).narrowing();
    D_OF_PS = op("vcvttps2dq", 1, PF3, 0x5b, 0, 0);
    D_OF_PD = op("vcvttpd2dq", 1, P66, 0xe6, 1, 0).narrow_vex().narrowing();
    UD_OF_PS = op("vcvttps2udq", 1, NONE, 0x78, 0, 0);
    UD_OF_PD = op("vcvttpd2udq", 1, NONE, 0x78, 1, 0).narrowing();
    Q_OF_PS = op("vcvttps2qq", 1, P66, 0x7a, 0, 0).holding(Held::Vector(1));
    Q_OF_PD = op("vcvttpd2qq", 1, P66, 0x7a, 1, 0);
    Q_OF_D = word("vpmovsxdq", 0x25).holding(Held::Vector(1));
    Q_OF_UD = word("vpmovzxdq", 0x35).holding(Held::Vector(1));
    D_OF_B = word("vpmovzxbd", 0x31).holding(Held::Vector(2));
    D_OF_SB = word("vpmovsxbd", 0x21).holding(Held::Vector(2));
    PS_OF_PH = word("vcvtph2ps", 0x13).holding(Held::Vector(1));
    PH_OF_PS = coded("vcvtps2ph", 0x1d, 0).holding(Held::Vector(1));
    D_OF_W = word("vpmovzxwd", 0x33).holding(Held::Vector(1));
    W_FROM_D = op("vpmovdw", 2, PF3, 0x33, 0, 0).holding(Held::Vector(1));
    D_FROM_Q = op("vpmovqd", 2, PF3, 0x35, 0, 0).holding(Held::Vector(1));
    B_FROM_D = op("vpmovdb", 2, PF3, 0x31, 0, 0).holding(Held::Vector(2));

    LOAD_PS = ps("vmovups", 0x10).plain();
    LOAD_PD = pd("vmovupd", 0x10).plain();
    STORE_PS = ps("vmovups", 0x11).plain();
    STORE_PD = pd("vmovupd", 0x11).plain();
    STREAM_PS = ps("vmovntps", 0x2b).plain();
    STREAM_PD = pd("vmovntpd", 0x2b).plain();
    MOVE_PS = ps("vmovaps", 0x28).plain();
    MOVE_PD = pd("vmovapd", 0x28).plain();
    BROADCAST_PS = word("vbroadcastss", 0x18).holding(Held::Bytes(4));
    BROADCAST_PD = long("vbroadcastsd", 0x19).narrow_vex().holding(Held::Bytes(8));
    BROADCAST_Q_OF = op("vpbroadcastq", 2, P66, 0x7c, 1, 0);
    BROADCAST_D = word("vpbroadcastd", 0x58).holding(Held::Bytes(4));
    BROADCAST_Q = long("vpbroadcastq", 0x59).narrow_vex().holding(Held::Bytes(8));
    MOVE_Q_OF = op("vmovq", 1, P66, 0x6e, 1, 0).holding(Held::Bytes(8));
    STORE_Q = op("vmovq", 1, P66, 0xd6, 1, 0).narrow_vex().holding(Held::Bytes(8));
    STORE_D = op("vmovd", 1, P66, 0x7e, 0, 0).holding(Held::Bytes(4));
    MASKED_LOAD_PS = word("vmaskmovps", 0x2c).plain();
    MASKED_LOAD_PD = op("vmaskmovpd", 2, P66, 0x2d, 0, 0);
    MASKED_STORE_PS = word("vmaskmovps", 0x2e).plain();
    MASKED_STORE_PD = op("vmaskmovpd", 2, P66, 0x2f, 0, 0);

    LOAD_SS = op("vmovss", 1, PF3, 0x10, 0, 0).holding(Held::Bytes(4));
    LOAD_SD = op("vmovsd", 1, PF2, 0x10, 1, 0).holding(Held::Bytes(8));
    LOAD_HIGH_PD = op("vmovhpd", 1, P66, 0x16, 1, 0).holding(Held::Bytes(8));
    INSERT_PS = coded("vinsertps", 0x21, 0).holding(Held::Bytes(4));
    INSERT_128 = coded("vinsertf32x4", 0x18, 0).holding(Held::Bytes(16));
    GATHER_DPS = word("vgatherdps", 0x92).holding(Held::Bytes(4));
    GATHER_DPD = long("vgatherdpd", 0x92).holding(Held::Bytes(8));
    GATHER_QPS = word("vgatherqps", 0x93).holding(Held::Bytes(4));
    GATHER_QPD = long("vgatherqpd", 0x93).holding(Held::Bytes(8));

    SHUFFLE_D = op("vpshufd", 1, P66, 0x70, 0, 4);
    SHUFFLE_PD = op("vshufpd", 1, P66, 0xc6, 1, 8);
    SHUFFLE_128 = coded("vshuff32x4", 0x23, 0);
    PERMUTE_128 = op("vperm2f128", 3, P66, 0x06, 0, 0);
    PERMUTE_PS = word("vpermps", 0x16);
    UNPACK_LOW_PS = ps("vunpcklps", 0x14);
    UNPACK_HIGH_PS = ps("vunpckhps", 0x15);
    SHUFFLE_2D = op("vshufps", 1, NONE, 0xc6, 0, 4);
    EXTRACT_128 = op("vextractf128", 3, P66, 0x19, 0, 0).holding(Held::Bytes(16));
    PACK_DW = op("vpackusdw", 2, P66, 0x2b, 0, 0);
    PACK_WB = op("vpackuswb", 1, P66, 0x67, 0, 0);
}
