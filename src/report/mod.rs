//! From a diagnosis to text. Nothing here prints, reads a file or draws a conclusion.

pub mod json;
mod ring;
pub mod text;
