//! DCGAN.

use igneous::nn::{
    BatchNorm2d, Conv, Conv2d, ConvTranspose, ConvTranspose2d, Forward, LeakyRelu, Module, ModuleExt, Relu, Sequential, Tanh,
};
use igneous::{Result, Tensor, default, no_grad};

/// Noise `[n, noise, 1, 1]` to images with values in ±1, with the names of PyTorch's tutorial (`main.0.weight`). Radford et al.
/// 2015, arXiv:1511.06434.
#[derive(Clone, Module)]
pub struct Generator {
    /// The layers.
    pub main: Sequential,
}

/// Images to the logit of being a real one, `[n]`. The tutorial's last layer, a sigmoid, belongs to the loss here:
/// `binary_cross_entropy_with_logits`.
#[derive(Clone, Module)]
pub struct Discriminator {
    /// The layers.
    pub main: Sequential,
}

/// The sizes of a [`Generator`] and its [`Discriminator`].
#[derive(Clone, Copy, Debug)]
pub struct DcganOptions {
    /// Numbers that an image is made of; 100.
    pub noise: usize,
    /// Channels of the largest hidden layer; 64. Each smaller one has twice as many.
    pub width: usize,
    /// Channels of images; 3.
    pub channels: usize,
    /// Height and width of the smallest layer; 4.
    pub smallest: usize,
    /// How often it is doubled; 4, for images of 64×64.
    pub doublings: usize,
}

impl Default for DcganOptions {
    fn default() -> DcganOptions {
        DcganOptions { noise: 100, width: 64, channels: 3, smallest: 4, doublings: 4 }
    }
}

impl DcganOptions {
    /// For images of 28×28 with one channel.
    pub fn mnist() -> DcganOptions {
        DcganOptions { channels: 1, smallest: 7, doublings: 2, ..default() }
    }
}

/// Weights as the paper begins them: normal, with deviation 0.02, those of normalisations around 1.
fn initialise(net: &impl Module) -> Result<()> {
    no_grad(|| {
        net.named_parameters().into_iter().try_for_each(|(name, parameter)| {
            let noise = parameter.randn_like() * 0.02;
            match (name.ends_with("weight"), parameter.rank()) {
                (true, 1) => parameter.assign(&(noise + 1.0)),
                (true, _) => parameter.assign(&noise),
                (false, _) => Ok(()),
            }
        })
    })
}

impl Generator {
    /// Of these sizes.
    #[track_caller]
    pub fn new(options: DcganOptions) -> Generator {
        let DcganOptions { noise, width, channels, smallest, doublings } = options;
        let doubling = ConvTranspose { stride: 2.into(), padding: 1.into(), ..default() };
        let of = |doubled: usize| if doubled == doublings { channels } else { (width << doublings) >> (doubled + 1) };
        let mut main = Sequential::new().push(ConvTranspose2d::new(noise, of(0), smallest).without_bias());
        for k in 0..doublings {
            let up = ConvTranspose2d::with(of(k), of(k + 1), 4, doubling).without_bias();
            main = main.push(BatchNorm2d::new(of(k))).push(Relu).push(up);
        }
        begun(Generator { main: main.push(Tanh) })
    }
}

impl Forward for Generator {
    #[track_caller]
    fn forward(&self, noise: &Tensor) -> Tensor {
        self.main.call("main", noise)
    }
}

impl Discriminator {
    /// Of these sizes.
    #[track_caller]
    pub fn new(options: DcganOptions) -> Discriminator {
        let DcganOptions { width, channels, smallest, doublings, .. } = options;
        let halving = Conv { stride: 2.into(), padding: 1.into(), ..default() };
        let mut main = Sequential::new();
        let mut inputs = channels;
        for k in 0..doublings {
            let outputs = width << k;
            main = main.push(Conv2d::with(inputs, outputs, 4, halving).without_bias());
            if k > 0 {
                main = main.push(BatchNorm2d::new(outputs));
            }
            main = main.push(LeakyRelu::new(0.2));
            inputs = outputs;
        }
        begun(Discriminator { main: main.push(Conv2d::new(inputs, 1, smallest).without_bias()) })
    }
}

/// The net with its first weights. Where they cannot be made, the net has the error already.
fn begun<N: Module>(net: N) -> N {
    let _ = initialise(&net);
    net
}

impl Forward for Discriminator {
    #[track_caller]
    fn forward(&self, images: &Tensor) -> Tensor {
        self.main.call("main", images).flatten_all()
    }
}
