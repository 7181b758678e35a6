//! How layers are declared that have options but neither parameters nor state.

/// `Name { fields } (x) result;` is a layer with a constructor that takes its fields in order: `field: type`, or
/// `field: type as argument` where the constructor takes more than that type.
macro_rules! stateless_layers {
    (@argument $ty:ty) => { $ty };
    (@argument $ty:ty as $argument:ty) => { $argument };
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty $(as $argument:ty)?,)* } ($x:ident) $result:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl $name {
            /// The layer with these options.
            pub fn new($($field: stateless_layers!(@argument $ty $(as $argument)?)),*) -> $name {
                $name { $($field: $field.into()),* }
            }
        }

        impl $crate::nn::Module for $name {
            fn visit(&self, _: &mut dyn $crate::nn::Visitor) {}
        }

        impl $crate::nn::Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &$crate::Tensor) -> $crate::Tensor {
                let $name { $($field),* } = *self;
                $result
            }
        }
    )*};
}

pub(super) use stateless_layers;
