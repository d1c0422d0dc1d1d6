// SPDX-License-Identifier: GPL-2.0

//! The pinning attributes of the `kernel` crate. On the host nothing is ever moved that was handed
//! to a shim by address, so all they do is to disappear.

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// Takes the `#[pin]` off the fields.
#[proc_macro_attribute]
pub fn pin_data(_args: TokenStream, item: TokenStream) -> TokenStream {
    without_pin(item)
}

/// Makes an ordinary `Drop` of it.
#[proc_macro_attribute]
pub fn pinned_drop(_args: TokenStream, item: TokenStream) -> TokenStream {
    let mut after_drop = false;
    rewrite(item, &mut after_drop)
}

fn rewrite(item: TokenStream, after_drop: &mut bool) -> TokenStream {
    item.into_iter()
        .map(|token| match token {
            TokenTree::Ident(ident) if ident.to_string() == "PinnedDrop" => {
                TokenTree::Ident(Ident::new("Drop", Span::call_site()))
            }
            TokenTree::Ident(ident) => {
                *after_drop = ident.to_string() == "drop";
                TokenTree::Ident(ident)
            }
            // `(self: Pin<&mut Self>)` of `fn drop`
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Parenthesis
                    && std::mem::take(after_drop)
                    && group
                        .stream()
                        .to_string()
                        .replace(' ', "")
                        .starts_with("self:") =>
            {
                let receiver = "&mut self".parse().expect("it is Rust");
                TokenTree::Group(Group::new(Delimiter::Parenthesis, receiver))
            }
            TokenTree::Group(group) => {
                let stream = rewrite(group.stream(), after_drop);
                TokenTree::Group(Group::new(group.delimiter(), stream))
            }
            other => other,
        })
        .collect()
}

fn without_pin(item: TokenStream) -> TokenStream {
    let mut out: Vec<TokenTree> = Vec::new();
    for token in item {
        match token {
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Bracket
                    && group.stream().to_string() == "pin"
                    && matches!(out.last(), Some(TokenTree::Punct(p)) if p.as_char() == '#') =>
            {
                out.pop();
            }
            TokenTree::Group(group) => {
                let stream = without_pin(group.stream());
                out.push(TokenTree::Group(Group::new(group.delimiter(), stream)));
            }
            other => out.push(other),
        }
    }
    out.into_iter().collect()
}
