//! From a diagnosis to text. Nothing here prints, reads a file or draws a conclusion.

pub mod dot;
pub mod explain;
pub mod html;
pub mod json;
mod layout;
mod ring;
#[cfg(test)]
mod samples;
pub mod text;
mod words;

pub use layout::hanging;
