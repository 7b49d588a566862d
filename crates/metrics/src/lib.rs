//! The metrics of pollscope: one table says what each is called, counts, and is labeled with. The text that Prometheus
//! scrapes, the documentation and the dashboards are all made from it, so they cannot differ.
//!
//! Nothing here knows where a figure comes from.

mod class;
mod docs;
mod exposition;
mod page;
mod table;

pub use class::{CLASSES, Class, class_of};
pub use docs::markdown;
pub use exposition::{Exposition, Series};
pub use page::Page;
pub use table::*;
