//! Traces: one from the POST of a command through bus, worker, callbacks and plugin calls, sent by OTLP over HTTP.
//!
//! What is traced are the spans of the log, those of this program alone. Where work goes on elsewhere, its place in the
//! trace travels as `traceparent` (W3C Trace Context): from the client's header or command, in the job, in the directive, and
//! back in the callbacks. A span takes it from its field of that name, unless it is within another span of this
//! program already. So the engine and the platform know nothing of OpenTelemetry.
//!
//! Nothing is traced unless an endpoint is set. A collector that is away costs its spans and nothing else: they are
//! sent in batches from a bounded queue, apart from all work.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use lucius_ports::clock::Clock as _;
use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Span, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context as LayerContext, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::system::SystemClock;

/// How long the collector may take for one batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The field of a span that names its place in a trace.
const PARENT: &str = "traceparent";

/// The layer that traces what the log's spans say. It belongs on a [`Registry`].
pub struct Traces {
    tracer: SdkTracer,
}

/// Sends what is left when it is told to.
pub struct Sending(SdkTracerProvider);

/// Begins to trace. Within a runtime, which sends.
///
/// # Errors
/// The endpoint is none.
pub fn start(endpoint: &str, service: &str) -> Result<(Traces, Sending), ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender {
            http: reqwest::Client::new(),
            runtime: Handle::current(),
        })
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    let tracer = provider.tracer("lucius");
    Ok((Traces { tracer }, Sending(provider)))
}

impl Sending {
    /// Sends what is left. Outside of the runtime, which is still to run.
    pub fn finish(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// The place of the current span in its trace, as the next one is to be told; nothing when nothing is traced.
pub fn current() -> Option<String> {
    let context = Span::current().with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        let span = registry.span(id)?;
        let extensions = span.extensions();
        extensions.get::<Traced>().map(Traced::context)
    });
    let context = context.flatten()?;
    let of_span = context.span().span_context().clone();
    of_span.is_valid().then(|| {
        let flags = of_span.trace_flags().to_u8();
        format!(
            "00-{}-{}-{flags:02x}",
            of_span.trace_id(),
            of_span.span_id()
        )
    })
}

/// A span on its way into a trace. It begins there when somebody asks for its place, so that its parent may be told
/// until then.
struct Traced(Arc<RwLock<Stage>>);

enum Stage {
    Waiting {
        tracer: SdkTracer,
        builder: Box<SpanBuilder>,
        parent: Context,
        /// True when the parent is a span of this program.
        is_within: bool,
    },
    Begun(Context),
}

impl Traced {
    fn context(&self) -> Context {
        let mut stage = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let context = match &*stage {
            Stage::Begun(context) => return context.clone(),
            Stage::Waiting {
                tracer,
                builder,
                parent,
                is_within: _,
            } => parent.with_span(tracer.build_with_context((**builder).clone(), parent)),
        };
        *stage = Stage::Begun(context.clone());
        context
    }

    /// Takes what was said about the span after it was made.
    fn take(&self, fields: Fields) {
        let mut stage = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *stage {
            Stage::Begun(context) => context.span().set_attributes(fields.attributes),
            Stage::Waiting {
                builder,
                parent,
                is_within,
                ..
            } => {
                builder
                    .attributes
                    .get_or_insert_default()
                    .extend(fields.attributes);
                if let (Some(told), false) = (fields.parent, *is_within) {
                    *parent = told;
                }
            }
        }
    }
}

impl<S> Layer<S> for Traces
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let name = attributes.metadata().name();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let within = span.parent().and_then(|parent| context_of(&parent));
        let is_within = within.is_some();
        let mut builder = self.tracer.span_builder(fields.title(name));
        builder.span_kind = Some(kind(name));
        builder.start_time = Some(now());
        builder.attributes = Some(fields.attributes);
        let stage = Stage::Waiting {
            tracer: self.tracer.clone(),
            builder: Box::new(builder),
            parent: within.or(fields.parent).unwrap_or_default(),
            is_within,
        };
        let traced = Traced(Arc::new(RwLock::new(stage)));
        span.extensions_mut().insert(traced);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: LayerContext<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(traced) = span.extensions().get::<Traced>() {
            traced.take(fields);
        }
    }

    fn on_close(&self, id: Id, context: LayerContext<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        if let Some(traced) = span.extensions().get::<Traced>() {
            traced.context().span().end();
        }
    }
}

fn context_of<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<Context> {
    span.extensions().get::<Traced>().map(Traced::context)
}

fn now() -> SystemTime {
    let ms = u64::try_from(SystemClock.now().0).unwrap_or(0);
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn kind(name: &str) -> SpanKind {
    match name {
        "request" => SpanKind::Server,
        "publish" => SpanKind::Producer,
        "attempt" => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

/// What a span says of itself.
#[derive(Default)]
struct Fields {
    attributes: Vec<KeyValue>,
    parent: Option<Context>,
}

impl Fields {
    /// A request is called after what is asked.
    fn title(&self, name: &'static str) -> Cow<'static, str> {
        let value = |key: &str| {
            let mut attributes = self.attributes.iter();
            attributes
                .find(|it| it.key.as_str() == key)
                .map(|it| it.value.to_string())
        };
        match (value("method"), value("route")) {
            (Some(method), Some(route)) => format!("{method} {route}").into(),
            (None, _) | (_, None) => name.into(),
        }
    }

    fn text(&mut self, field: &Field, text: String) {
        if field.name() == PARENT {
            self.parent = parent(&text);
        } else {
            self.attributes.push(KeyValue::new(field.name(), text));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attributes.push(KeyValue::new(field.name(), value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.attributes.push(KeyValue::new(field.name(), value));
    }
}

/// Reads a `traceparent`; what is none says nothing.
fn parent(text: &str) -> Option<Context> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known =
        version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
    let is_sized = trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    if !is_known || !is_sized {
        return None;
    }
    let of_parent = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    of_parent
        .is_valid()
        .then(|| Context::new().with_remote_span_context(of_parent))
}

/// Sends batches by the client and on the runtime that are there anyway.
#[derive(Clone, Debug)]
struct Sender {
    http: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = self.http.execute(request.try_into()?);
        // The batches come from a thread of their own, and the client needs its runtime.
        let sent = self.runtime.spawn(async move {
            let mut response = request.await?;
            let mut answer = Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                *headers = std::mem::take(response.headers_mut());
            }
            Ok::<_, HttpError>(answer.body(response.bytes().await?)?)
        });
        sent.await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_trace_is_read_and_what_is_none_is_not() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = parent(text).expect("it is one");
        let of_parent = context.span().span_context().clone();
        assert_eq!(
            of_parent.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(of_parent.span_id().to_string(), "b7ad6b7169203331");
        assert!(of_parent.is_sampled() && of_parent.is_remote());
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319z-b7ad6b7169203331-01",
        ] {
            assert!(parent(wrong).is_none(), "{wrong}");
        }
    }
}
