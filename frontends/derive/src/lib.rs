//! Derive macros of igneous. Use them through the `igneous` crate.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, LitStr, parse_macro_input, parse_quote};

/// Implements `igneous::nn::Module` by visiting every field under its name, in order: layers, tensors, and `Vec`s,
/// `Option`s, arrays and boxes of them; numbers and texts hold no parameters and are passed over.
/// A field of any other type is left out with `#[module(skip)]`; `#[module(name = "LayerNorm")]` gives a field the name that it
/// has in a state dict of PyTorch. Works for structs and enums, generic ones too.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(mut input: DeriveInput) -> Result<proc_macro2::TokenStream, Error> {
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::igneous::nn::Module));
    }
    let body = match &input.data {
        Data::Struct(data) => {
            let visits = kept(&data.fields)?.into_iter().map(|Kept { index, name, field }| {
                let member = match &field.ident {
                    Some(ident) => quote!(#ident),
                    None => {
                        let index = syn::Index::from(index);
                        quote!(#index)
                    }
                };
                quote!(visitor.child(#name, &self.#member);)
            });
            quote!(#(#visits)*)
        }
        Data::Enum(data) => {
            let arms = data.variants.iter().map(|variant| {
                let ident = &variant.ident;
                let kept = kept(&variant.fields)?;
                let bindings = kept.iter().map(|Kept { index, field, .. }| {
                    let binding = format_ident!("field_{index}");
                    match &field.ident {
                        Some(ident) => quote!(#ident: #binding),
                        None => {
                            let index = syn::Index::from(*index);
                            quote!(#index: #binding)
                        }
                    }
                });
                let visits = kept.iter().map(|Kept { index, name, .. }| {
                    let binding = format_ident!("field_{index}");
                    quote!(visitor.child(#name, #binding);)
                });
                Ok(quote!(Self::#ident { #(#bindings,)* .. } => { #(#visits)* }))
            });
            let arms = arms.collect::<Result<Vec<_>, Error>>()?;
            quote!(match self { #(#arms)* })
        }
        Data::Union(_) => return Err(Error::new(input.ident.span(), "`Module` cannot be derived for unions")),
    };
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::igneous::nn::Module for #ident #arguments #bounds {
            fn visit(&self, visitor: &mut dyn ::igneous::nn::Visitor) {
                let _ = &visitor;
                #body
            }
        }
    })
}

/// A field that is visited.
struct Kept<'f> {
    index: usize,
    name: String,
    field: &'f Field,
}

/// The fields that are visited.
fn kept(fields: &Fields) -> Result<Vec<Kept<'_>>, Error> {
    let mut kept = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let mut skip = false;
        let mut name = field.ident.as_ref().map_or_else(|| index.to_string(), |ident| ident.unraw().to_string());
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    skip = true;
                    Ok(())
                } else if meta.path.is_ident("name") {
                    name = meta.value()?.parse::<LitStr>()?.value();
                    Ok(())
                } else {
                    Err(Error::new(meta.path.span(), "the attributes here are `skip` and `name = \"…\"`"))
                }
            })?;
        }
        if !skip {
            kept.push(Kept { index, name, field });
        }
    }
    Ok(kept)
}
