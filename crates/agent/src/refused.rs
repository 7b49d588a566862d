//! What `#[pollscope_agent::main]` refuses. The first example is what all the others differ from in one word.
//!
//! ```
//! #[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
//! async fn main() {}
//! ```
//!
//! ```compile_fail
//! #[pollscope_agent::main(flavor = "many_threads", worker_threads = 2)]
//! async fn main() {}
//! ```
//!
//! ```compile_fail
//! #[pollscope_agent::main(flavor = "multi_thread", worker_threads = 0)]
//! async fn main() {}
//! ```
//!
//! ```compile_fail
//! #[pollscope_agent::main(flavor = "current_thread", worker_threads = 2)]
//! async fn main() {}
//! ```
//!
//! ```compile_fail
//! #[pollscope_agent::main(flavor = "multi_thread", start_paused = true)]
//! async fn main() {}
//! ```
//!
//! ```compile_fail
//! #[pollscope_agent::main(flavor = "multi_thread", workers = 2)]
//! async fn main() {}
//! ```
//!
//! ```compile_fail
//! #[pollscope_agent::main(flavor = "multi_thread", crate = tokio)]
//! async fn main() {}
//! ```
//!
//! ```compile_fail
//! #[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
//! fn main() {}
//! ```
//!
//! ```compile_fail
//! #[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
//! async fn main(argument: u32) {}
//! ```
//!
//! The error of a wrong type stands at the body, not in the macro:
//!
//! ```compile_fail,E0308
//! #[pollscope_agent::main]
//! async fn main() -> Result<(), std::io::Error> { 3u8 }
//! ```
