//! The console at `/console`: a handful of static files that are part of the program, so that it works without
//! internet and without anything beside the binary. What it shows comes from the API, with the viewer's own key.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};

use super::jobs::IdPath;
use super::problem::Problem;

/// Only what this host itself serves may run or be asked; nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = "index.html";

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../console/", $name)))),*]
    };
}

/// Every file, by its name.
const FILES: &[(&str, &str)] = files! {
    "index.html" "icon.svg" "console.css" "console.js" "api.js" "audit.js" "dead_letters.js" "dom.js" "job.js"
    "jobs.js" "live.js" "metrics.js" "overview.js" "plot.js" "registry.js" "timeline.js"
};

/// The console
#[utoipa::path(
    get, path = "/console", operation_id = "console", tag = "operation",
    responses((status = 200, description = "A page for people", body = String, content_type = "text/html"))
)]
pub(super) async fn page() -> Response {
    file(PAGE)
}

/// A part of the console
#[utoipa::path(
    get, path = "/console/{file}", operation_id = "consolePart", tag = "operation",
    params(("file" = String, Path, description = "The name of a script, a style sheet or a picture")),
    responses(
        (status = 200, description = "The file", content(
            (String = "text/javascript"), (String = "text/css"), (String = "text/html"), (String = "image/svg+xml"),
        )),
        (status = 404, description = "NOT_FOUND"),
    )
)]
pub(super) async fn part(name: IdPath) -> Response {
    match name {
        Ok(Path(name)) => file(&name),
        Err(_) => Problem::not_found().into_response(),
    }
}

fn file(name: &str) -> Response {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let Some((_, text)) = found else {
        return Problem::not_found().into_response();
    };
    let headers = [
        (CONTENT_TYPE, media_type(name)),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        // A new version of the program brings new files under the same names.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, *text).into_response()
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "text/javascript; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_one_names_is_there() {
        let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        let imported = FILES.iter().flat_map(|(_, text)| {
            let parts = text.split("\"./").skip(1);
            parts.filter_map(|rest| rest.split('"').next())
        });
        let linked = FILES.iter().flat_map(|(_, text)| {
            let parts = text.split("\"/console/").skip(1);
            parts.filter_map(|rest| rest.split('"').next())
        });
        let used: Vec<&str> = imported.chain(linked).collect();
        assert!(used.len() > 20, "{used:?}");
        for name in used {
            assert!(names.contains(&name), "{name} is used and not served");
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for (name, text) in FILES {
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("http://"), "{name}");
            assert!(!elsewhere.contains("https://"), "{name}");
        }
    }
}
