//! Numbers of `linux/netfilter/nf_tables.h` and `nfnetlink.h` that the `libc` crate lacks.

/// `NFNL_SUBSYS_NFTABLES`.
pub const SUBSYS: u16 = 10;
pub const BATCH_BEGIN: u16 = 16;
pub const BATCH_END: u16 = 17;
/// Bytes of `struct nfgenmsg`.
pub const GENMSG_BYTES: usize = 4;

/// `NFTA_LIST_ELEM`.
pub const LIST_ELEM: u16 = 1;

pub mod table {
    pub const NAME: u16 = 1;
    pub const USERDATA: u16 = 6;
}

pub mod chain {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const TYPE: u16 = 7;
    pub const HOOK_NUM: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
}

pub mod rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const HANDLE: u16 = 3;
    pub const EXPRESSIONS: u16 = 4;
    pub const USERDATA: u16 = 7;
    /// `NFTNL_UDATA_RULE_COMMENT`: how libnftnl keeps a rule's comment in its user data.
    pub const USERDATA_COMMENT: u8 = 0;
}

pub mod set {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const KEY_TYPE: u16 = 4;
    pub const KEY_LEN: u16 = 5;
    pub const DATA_TYPE: u16 = 6;
    pub const DATA_LEN: u16 = 7;
    pub const DESC: u16 = 9;
    pub const ID: u16 = 10;
    pub const TIMEOUT: u16 = 11;
    pub const DESC_CONCAT: u16 = 2;
    pub const FIELD_LEN: u16 = 1;
    pub const FLAG_INTERVAL: u32 = 0x4;
    pub const FLAG_MAP: u32 = 0x8;
    pub const FLAG_TIMEOUT: u32 = 0x10;
    pub const FLAG_EVAL: u32 = 0x20;
    pub const FLAG_CONCAT: u32 = 0x80;
}

pub mod elements {
    pub const TABLE: u16 = 1;
    pub const SET: u16 = 2;
    pub const ELEMENTS: u16 = 3;
}

pub mod element {
    pub const KEY: u16 = 1;
    pub const DATA: u16 = 2;
    pub const TIMEOUT: u16 = 4;
    pub const KEY_END: u16 = 10;
}

pub mod data {
    pub const VALUE: u16 = 1;
    pub const VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
    /// `NFT_DATA_VERDICT`, the data type of a verdict map.
    pub const TYPE_VERDICT: u32 = 0xffff_ff00;
}

pub mod expr {
    pub const NAME: u16 = 1;
    pub const DATA: u16 = 2;
}
