//! Derive macros of igneous. Use them through the `igneous` crate.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, parse_macro_input, parse_quote};

/// Implements `igneous::nn::Module` by visiting every field under its name, in order: layers, tensors, and `Vec`s,
/// `Option`s, arrays and boxes of them; numbers and texts hold no parameters and are passed over.
/// A field of any other type is left out with `#[module(skip)]`. Works for structs and enums, generic ones too.
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
            let visits = kept(&data.fields)?.into_iter().map(|(i, field)| {
                let (member, name) = match &field.ident {
                    Some(ident) => (quote!(#ident), ident.unraw().to_string()),
                    None => {
                        let index = syn::Index::from(i);
                        (quote!(#index), i.to_string())
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
                let bindings = kept.iter().map(|(i, field)| {
                    let binding = format_ident!("field_{i}");
                    match &field.ident {
                        Some(ident) => quote!(#ident: #binding),
                        None => {
                            let index = syn::Index::from(*i);
                            quote!(#index: #binding)
                        }
                    }
                });
                let visits = kept.iter().map(|(i, field)| {
                    let binding = format_ident!("field_{i}");
                    let name = field.ident.as_ref().map_or_else(|| i.to_string(), |ident| ident.unraw().to_string());
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

/// The fields that are visited, with their positions.
fn kept(fields: &Fields) -> Result<Vec<(usize, &Field)>, Error> {
    let mut kept = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let mut skip = false;
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    skip = true;
                    Ok(())
                } else {
                    Err(Error::new(meta.path.span(), "the only attribute here is `skip`"))
                }
            })?;
        }
        if !skip {
            kept.push((i, field));
        }
    }
    Ok(kept)
}
