//! IncrementalAlterConfigs: changes the settings that are named and leaves the others alone.
//!
//! rdkafka's own `alter_configs` speaks the older AlterConfigs, which puts every setting that is not named back to its default, and has
//! no other. So this calls librdkafka itself. What is `unsafe` in this crate's use of Kafka is in this file.
#![expect(
    unsafe_code,
    reason = "librdkafka's IncrementalAlterConfigs, which the crate rdkafka does not offer"
)]

use std::{
    ffi::{CStr, CString, c_char},
    ptr::NonNull,
    time::Duration,
};

use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};

use super::admin::Verdict;

/// Settings of one topic.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) topic: String,
    /// Name and value; `None` takes the setting off.
    pub(super) values: Vec<(String, Option<String>)>,
}

/// Asks the cluster and says what it answered for each topic; `validate` changes nothing.
pub(super) fn alter<C: ClientContext>(
    client: &Client<C>,
    topics: &[Settings],
    validate: bool,
    limit: Duration,
) -> KafkaResult<Vec<Verdict>> {
    let resources: Vec<Owned<sys::rd_kafka_ConfigResource_t>> =
        topics.iter().map(resource).collect::<KafkaResult<_>>()?;
    let milliseconds = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let options = options(client, validate, milliseconds)?;
    // SAFETY: the client outlives the queue, which ends with this function.
    let queue = unsafe { sys::rd_kafka_queue_new(client.native_ptr()) };
    let queue = Owned::new(queue, sys::rd_kafka_queue_destroy)?;

    let mut pointers: Vec<*mut sys::rd_kafka_ConfigResource_t> =
        resources.iter().map(Owned::get).collect();
    // SAFETY: librdkafka copies the resources and the options before it returns; `pointers` has as many as it says.
    unsafe {
        sys::rd_kafka_IncrementalAlterConfigs(
            client.native_ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            options.get(),
            queue.get(),
        );
    }
    // The request has its own end; this one is a little later.
    // SAFETY: the queue is ours.
    let event =
        unsafe { sys::rd_kafka_queue_poll(queue.get(), milliseconds.saturating_add(1_000)) };
    let event = Owned::new(event, sys::rd_kafka_event_destroy)
        .map_err(|_| KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))?;
    verdicts(&event)
}

fn resource(settings: &Settings) -> KafkaResult<Owned<sys::rd_kafka_ConfigResource_t>> {
    let topic = CString::new(settings.topic.as_str())?;
    // SAFETY: the name is copied.
    let resource = unsafe {
        sys::rd_kafka_ConfigResource_new(
            sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            topic.as_ptr(),
        )
    };
    let resource = Owned::new(resource, sys::rd_kafka_ConfigResource_destroy)?;
    for (name, value) in &settings.values {
        let name = CString::new(name.as_str())?;
        let operation = match value {
            Some(_) => sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
            None => sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE,
        };
        let value = value.as_deref().map(CString::new).transpose()?;
        let value = value
            .as_ref()
            .map_or(std::ptr::null(), |value| value.as_ptr());
        // SAFETY: name and value are copied; DELETE takes no value.
        let error = unsafe {
            sys::rd_kafka_ConfigResource_add_incremental_config(
                resource.get(),
                name.as_ptr(),
                operation,
                value,
            )
        };
        if let Ok(error) = Owned::new(error, sys::rd_kafka_error_destroy) {
            // SAFETY: the text lives as long as the error.
            let reason = unsafe { text(sys::rd_kafka_error_string(error.get())) };
            return Err(KafkaError::AdminOpCreation(reason));
        }
    }
    Ok(resource)
}

fn options<C: ClientContext>(
    client: &Client<C>,
    validate: bool,
    milliseconds: i32,
) -> KafkaResult<Owned<sys::rd_kafka_AdminOptions_t>> {
    // SAFETY: the options refer to the client only while it lives.
    let options = unsafe {
        sys::rd_kafka_AdminOptions_new(
            client.native_ptr(),
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS,
        )
    };
    let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
    let mut reason: [c_char; 256] = [0; 256];
    // SAFETY: at most `reason.len()` bytes are written, with a zero at the end.
    let code = unsafe {
        match sys::rd_kafka_AdminOptions_set_request_timeout(
            options.get(),
            milliseconds,
            reason.as_mut_ptr(),
            reason.len(),
        ) {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                sys::rd_kafka_AdminOptions_set_validate_only(
                    options.get(),
                    i32::from(validate),
                    reason.as_mut_ptr(),
                    reason.len(),
                )
            }
            code => code,
        }
    };
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(options);
    }
    // SAFETY: librdkafka has put a text there, and it was zero before.
    let reason = unsafe { text(reason.as_ptr()) };
    Err(KafkaError::AdminOpCreation(reason))
}

fn verdicts(event: &Owned<sys::rd_kafka_event_t>) -> KafkaResult<Vec<Verdict>> {
    // SAFETY: the event is ours and lives to the end of this function; what is read of it is copied.
    unsafe {
        let code = sys::rd_kafka_event_error(event.get());
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::AdminOp(code.into()));
        }
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.get());
        if result.is_null() {
            return Err(KafkaError::AdminOpCreation(
                "an answer of another kind".to_owned(),
            ));
        }
        let mut count = 0;
        let resources =
            sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        let verdicts = (0..count).map(|index| {
            let resource = *resources.add(index);
            let topic = text(sys::rd_kafka_ConfigResource_name(resource));
            let verdict = match sys::rd_kafka_ConfigResource_error(resource) {
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
                code => {
                    let reason = text(sys::rd_kafka_ConfigResource_error_string(resource));
                    let code = RDKafkaErrorCode::from(code);
                    Err(if reason.is_empty() {
                        code.to_string()
                    } else {
                        format!("{code}: {reason}")
                    })
                }
            };
            (topic, verdict)
        });
        Ok(verdicts.collect())
    }
}

/// A copy of a text of librdkafka's; nothing where there is none.
///
/// # Safety
/// The pointer is null or leads to bytes with a zero at their end.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(pointer) }
        .to_string_lossy()
        .into_owned()
}

/// Something of librdkafka's that must be given back.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> KafkaResult<Self> {
        let pointer = NonNull::new(pointer)
            .ok_or_else(|| KafkaError::AdminOpCreation("librdkafka gave nothing".to_owned()))?;
        Ok(Self { pointer, destroy })
    }

    const fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it came from librdkafka, is ours, and is given back once, by the function that belongs to it.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}
