//! Models of the literature, one file each: what the examples train and run, and what a new model starts from.
//!
//! ```
//! use igneous::nn::{Forward, ModuleExt};
//! use igneous::Tensor;
//! use igneous_models::{LeNet, ResNet};
//!
//! let net = LeNet::new(1, 28, 10);
//! assert_eq!(net.forward(&Tensor::zeros((2, 1, 28, 28))).shape()[..], [2, 10].map(igneous::Dim::from));
//! assert_eq!(ResNet::resnet18(1000).parameter_count(), 11_689_512);
//! # Ok::<(), igneous::Error>(())
//! ```
//!
//! What lives here: definitions only, made of the layers in `igneous::nn`. What does not: layers, training, data.
//!
//! Invariants: parameters and buffers have the names of PyTorch's well-known implementations (torchvision, Hugging Face, the
//! tutorials; each file says which), so that `load_state_dict` takes their weights; equal weights give equal outputs, which
//! `tests/models` checks against PyTorch; each model begins as its paper or that implementation does.
#![forbid(unsafe_code)]

mod autoencoder;
mod bert;
mod crepe;
mod dcgan;
mod encoder;
mod gpt;
mod graph;
mod lenet;
mod mlp;
mod mobilenet;
mod recurrent;
mod resnet;
mod unet;
mod vgg;
mod vit;

pub use autoencoder::{Autoencoder, Vae};
pub use bert::{
    Bert, BertAttention, BertDense, BertEmbeddings, BertEncoder, BertLayer, BertNormed, BertOptions, BertPooler,
    BertSelfAttention,
};
pub use crepe::{Crepe, CrepeBlock};
pub use dcgan::{DcganOptions, Discriminator, Generator};
pub use encoder::{EncoderClassifier, EncoderClassifierOptions};
pub use gpt::{Gpt, GptAttention, GptBlock, GptMlp, GptOptions, GptPositions, GptTransformer};
pub use graph::{Edges, Gat, GatConv, Gcn, GcnConv, GraphSage, SageConv};
pub use lenet::LeNet;
pub use mlp::mlp;
pub use mobilenet::{InvertedResidual, InvertedStage, MobileNetV2, MobileNetV2Options};
pub use recurrent::{GruClassifier, LstmClassifier};
pub use resnet::{BasicBlock, ResNet, ResNetOptions};
pub use unet::{UNet, UNetOptions};
pub use vgg::{VggFeatures, gram_matrix};
pub use vit::{Vit, VitBlock, VitEncoder, VitOptions};
