//! The messages of event files, as far as they are written here; their numbers are those of TensorFlow's declarations.

use prost::{Message, Oneof};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(oneof = "event::What", tags = "3, 4, 5")]
    pub(super) what: Option<event::What>,
}

pub(super) mod event {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum What {
        #[prost(string, tag = "3")]
        FileVersion(String),
        /// A serialised `GraphDef`.
        #[prost(bytes, tag = "4")]
        GraphDef(Vec<u8>),
        #[prost(message, tag = "5")]
        Summary(super::Summary),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Value {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(message, optional, tag = "9")]
    pub(super) metadata: Option<SummaryMetadata>,
    #[prost(oneof = "value::What", tags = "2, 4, 5, 8")]
    pub(super) what: Option<value::What>,
}

pub(super) mod value {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum What {
        #[prost(float, tag = "2")]
        SimpleValue(f32),
        #[prost(message, tag = "4")]
        Image(super::Image),
        #[prost(message, tag = "5")]
        Histo(super::HistogramProto),
        #[prost(message, tag = "8")]
        Tensor(super::TensorProto),
    }
}

/// Which part of TensorBoard shows a value.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SummaryMetadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
}

impl SummaryMetadata {
    pub(super) fn plugin(name: &str) -> SummaryMetadata {
        SummaryMetadata { plugin_data: Some(PluginData { plugin_name: name.to_owned() }) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Image {
    #[prost(int32, tag = "1")]
    pub(super) height: i32,
    #[prost(int32, tag = "2")]
    pub(super) width: i32,
    /// The number of channels.
    #[prost(int32, tag = "3")]
    pub(super) colorspace: i32,
    #[prost(bytes, tag = "4")]
    pub(super) encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HistogramProto {
    #[prost(double, tag = "1")]
    pub(super) min: f64,
    #[prost(double, tag = "2")]
    pub(super) max: f64,
    #[prost(double, tag = "3")]
    pub(super) num: f64,
    #[prost(double, tag = "4")]
    pub(super) sum: f64,
    #[prost(double, tag = "5")]
    pub(super) sum_squares: f64,
    /// The upper ends of the buckets.
    #[prost(double, repeated, tag = "6")]
    pub(super) bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) bucket: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorProto {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<TensorShape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

impl TensorProto {
    /// One text in a vector.
    pub(super) fn text(text: &str) -> TensorProto {
        const STRING: i32 = 7;
        TensorProto { dtype: STRING, tensor_shape: Some(TensorShape::of([1])), string_val: vec![text.as_bytes().to_vec()] }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorShape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

impl TensorShape {
    pub(super) fn of(sizes: impl IntoIterator<Item = i64>) -> TensorShape {
        TensorShape { dim: sizes.into_iter().map(|size| Dim { size }).collect() }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GraphDef {
    #[prost(message, repeated, tag = "1")]
    pub(super) node: Vec<NodeDef>,
    #[prost(message, optional, tag = "4")]
    pub(super) versions: Option<Versions>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Versions {
    #[prost(int32, tag = "1")]
    pub(super) producer: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeDef {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) op: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) input: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) device: String,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(super) attr: BTreeMap<String, Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(oneof = "attribute::What", tags = "1, 2")]
    pub(super) what: Option<attribute::What>,
}

pub(super) mod attribute {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum What {
        #[prost(message, tag = "1")]
        List(super::AttributeList),
        #[prost(bytes, tag = "2")]
        Text(Vec<u8>),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttributeList {
    #[prost(message, repeated, tag = "7")]
    pub(super) shape: Vec<TensorShape>,
}
