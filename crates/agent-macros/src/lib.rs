//! `#[pollscope_agent::main]`: stands in the place of `#[tokio::main]` and takes the same arguments, and one more.
//!
//! Tokens are handled by hand: a service that adds the agent should not compile a parser for one
//! attribute.

use proc_macro::{Delimiter, Group, Punct, Spacing, Span, TokenStream, TokenTree};

/// Runs an `async fn main` on a runtime that the agent watches.
///
/// Takes the arguments of `#[tokio::main]`: `flavor`, `worker_threads`, `start_paused` and `crate`; and
/// `max_blocking_threads`, which stands for the method of the runtime's builder.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    match parse_args(args).and_then(|args| expand(&args, item)) {
        Ok(expanded) => expanded,
        Err(error) => error.into_tokens(),
    }
}

struct Error {
    span: Span,
    message: String,
}

impl Error {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    fn into_tokens(self) -> TokenStream {
        let tokens = parse(&format!("::core::compile_error!({:?});", self.message));
        respan(tokens, self.span)
    }
}

struct Args {
    current_thread: bool,
    worker_threads: Option<usize>,
    max_blocking_threads: Option<usize>,
    start_paused: bool,
    tokio: String,
}

fn parse_args(args: TokenStream) -> Result<Args, Error> {
    let mut parsed = Args {
        current_thread: false,
        worker_threads: None,
        max_blocking_threads: None,
        start_paused: false,
        tokio: "::tokio".to_owned(),
    };
    let mut workers_at = Span::call_site();
    let mut paused_at = Span::call_site();
    let mut tokens = args.into_iter();
    while let Some(token) = tokens.next() {
        let span = token.span();
        let name = token.to_string();
        match tokens.next() {
            Some(TokenTree::Punct(equals)) if equals.as_char() == '=' => {}
            _ => {
                return Err(Error::new(span, format!("the argument `{name}` must be written `{name} = value`")));
            }
        }
        let Some(value) = tokens.next() else {
            return Err(Error::new(span, format!("the argument `{name}` has no value")));
        };
        let at = value.span();
        let text = value.to_string();
        match name.as_str() {
            "flavor" => match text.as_str() {
                "\"multi_thread\"" => parsed.current_thread = false,
                "\"current_thread\"" => parsed.current_thread = true,
                _ => {
                    return Err(Error::new(at, "`flavor` must be \"multi_thread\" or \"current_thread\""));
                }
            },
            "worker_threads" | "max_blocking_threads" => {
                let digits = text.trim_end_matches("usize").replace('_', "");
                let count = digits.parse().ok().filter(|count| *count > 0);
                if count.is_none() {
                    return Err(Error::new(at, format!("`{name}` must be a whole number above 0")));
                }
                if name == "worker_threads" {
                    (parsed.worker_threads, workers_at) = (count, span);
                } else {
                    parsed.max_blocking_threads = count;
                }
            }
            "start_paused" => {
                parsed.start_paused = match text.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Error::new(at, "`start_paused` must be true or false")),
                };
                paused_at = span;
            }
            "crate" => {
                let path = text.trim_matches('"');
                if path.len() + 2 != text.len() || path.parse::<TokenStream>().is_err() {
                    return Err(Error::new(at, "`crate` must be the path of tokio in quotes, such as \"::tokio\""));
                }
                parsed.tokio = path.to_owned();
            }
            _ => {
                return Err(Error::new(
                    span,
                    format!(
                        "unknown argument `{name}`: expected flavor, worker_threads, max_blocking_threads, start_paused or crate"
                    ),
                ));
            }
        }
        match tokens.next() {
            None => break,
            Some(TokenTree::Punct(comma)) if comma.as_char() == ',' => {}
            Some(other) => {
                return Err(Error::new(other.span(), "arguments must be separated by commas"));
            }
        }
    }
    if parsed.current_thread && parsed.worker_threads.is_some() {
        return Err(Error::new(workers_at, "`worker_threads` needs flavor = \"multi_thread\""));
    }
    if parsed.start_paused && !parsed.current_thread {
        return Err(Error::new(paused_at, "`start_paused` needs flavor = \"current_thread\""));
    }
    Ok(parsed)
}

fn expand(args: &Args, item: TokenStream) -> Result<TokenStream, Error> {
    let mut head = Vec::new();
    let mut is_async = false;
    let mut tokens = item.into_iter();
    let found_fn = loop {
        match tokens.next() {
            Some(TokenTree::Ident(word)) if word.to_string() == "async" => is_async = true,
            Some(TokenTree::Ident(word)) if word.to_string() == "fn" => break word,
            Some(other) => head.push(other),
            None => {
                return Err(Error::new(Span::call_site(), "`#[pollscope_agent::main]` goes on an `async fn`"));
            }
        }
    };
    if !is_async {
        return Err(Error::new(found_fn.span(), "the function under `#[pollscope_agent::main]` must be `async`"));
    }
    let Some(name) = tokens.next() else {
        return Err(Error::new(found_fn.span(), "the function has no name"));
    };
    let params = match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => group,
        _ => {
            return Err(Error::new(name.span(), "the function under `#[pollscope_agent::main]` cannot be generic"));
        }
    };
    if !params.stream().is_empty() {
        return Err(Error::new(params.span(), "the function under `#[pollscope_agent::main]` takes no arguments"));
    }
    let mut rest: Vec<TokenTree> = tokens.collect();
    let body = match rest.pop() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group,
        _ => return Err(Error::new(name.span(), "the function has no body")),
    };
    // What is left is nothing, or `-> TYPE`.
    let returned: TokenStream = if rest.is_empty() { parse("()") } else { rest.iter().skip(2).cloned().collect() };

    let mut out: TokenStream = head.into_iter().collect();
    out.extend([TokenTree::Ident(found_fn), name, TokenTree::Group(params.clone())]);
    out.extend(rest);
    out.extend([brace(run(args, &returned, &body), params.span())]);
    Ok(out)
}

/// The statements of the new function: build, observe, run, stop, finish.
fn run(args: &Args, returned: &TokenStream, body: &Group) -> TokenStream {
    // `!` is not yet a type that a variable can have.
    let never = returned.to_string() == "!";
    let returned = if never { &code("::core::convert::Infallible") } else { returned };
    let tokio = &args.tokio;
    let flavor = if args.current_thread { "current_thread" } else { "multi_thread" };
    let workers = args.worker_threads.unwrap_or(0);
    let paused = args.start_paused;
    let mut setup = format!("let mut builder = {tokio}::runtime::Builder::new_{flavor}(); builder.enable_all();");
    if workers > 0 {
        setup += &format!("builder.worker_threads({workers}usize);");
    }
    if paused {
        setup += "builder.start_paused(true);";
    }
    setup +=
        &format!("let agent = ::pollscope_agent::init_for_main(&mut builder, {flavor:?}, {workers}usize, {paused});");
    // After the agent, which may put another builder in this one's place.
    if let Some(threads) = args.max_blocking_threads {
        setup += &format!("builder.max_blocking_threads({threads}usize);");
    }
    setup += "let runtime = builder.build().expect(\"failed to build the runtime\");";

    // A future's type cannot be written on an `async` block. A first, never reached `return` of the
    // right type tells the compiler what `?` converts to, and where a mismatch is.
    let mut hint = code("let unreached:");
    hint.extend(returned.clone());
    hint.extend(code("= loop {}; return unreached;"));
    let mut future = code(
        "#[allow(unknown_lints, unreachable_code, clippy::diverging_sub_expression, \
         clippy::empty_loop, clippy::let_unit_value, clippy::needless_return, \
         clippy::unreachable, clippy::let_with_type_underscore)] if false",
    );
    future.extend([brace(hint, Span::mixed_site())]);
    // In the body's own braces: a second pair would earn the user a warning about braces.
    future.extend(body.stream());

    let mut call = code("agent.root");
    let mut block = code("async move");
    block.extend([brace(future, body.span())]);
    call.extend([TokenTree::Group(Group::new(Delimiter::Parenthesis, block))]);

    let mut all = code(&setup);
    all.extend(code("#[allow(clippy::let_unit_value)] let out:"));
    all.extend(returned.clone());
    all.extend([TokenTree::Punct(Punct::new('=', Spacing::Alone))]);
    all.extend(code("runtime.block_on"));
    all.extend([TokenTree::Group(Group::new(Delimiter::Parenthesis, call))]);
    // The runtime goes first: the tasks it drops still belong in the recording.
    all.extend(code("; ::std::mem::drop(runtime); agent.finish();"));
    all.extend(code(if never { "match out {}" } else { "out" }));
    all
}

fn brace(stream: TokenStream, span: Span) -> TokenTree {
    let mut group = Group::new(Delimiter::Brace, stream);
    group.set_span(span);
    TokenTree::Group(group)
}

/// Our own code: its variables must be invisible to the body it surrounds.
fn code(text: &str) -> TokenStream {
    respan(parse(text), Span::mixed_site())
}

fn parse(text: &str) -> TokenStream {
    text.parse().expect("the text is Rust")
}

fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| {
            let mut token = match token {
                TokenTree::Group(group) => {
                    TokenTree::Group(Group::new(group.delimiter(), respan(group.stream(), span)))
                }
                other => other,
            };
            token.set_span(span);
            token
        })
        .collect()
}
