//! lib
pub mod detect;
pub mod model;
pub mod report;
pub mod symbols;
