package events

// Reason is why a request was rejected.
type Reason string

// The reasons for a rejection.
const (
	// ReasonMalformed: not a CloudEvent.
	ReasonMalformed Reason = "malformed"
	// ReasonUnknownType: a type that is no request.
	ReasonUnknownType Reason = "unknown_type"
	// ReasonKindMismatch: the type's kind is not the subject's, or the kind may
	// not go to that subject.
	ReasonKindMismatch Reason = "kind_mismatch"
	// ReasonInvalid: the data does not follow the schema.
	ReasonInvalid Reason = "invalid"
	// ReasonUnsupported: a kind or member that this version does not have yet.
	ReasonUnsupported Reason = "unsupported"
	// ReasonPolicy: the host's configuration does not allow it.
	ReasonPolicy Reason = "policy"
	// ReasonUnknownSink: no sink of that name is configured on the host.
	ReasonUnknownSink Reason = "unknown_sink"
	// ReasonExpired: the request's expirytime has passed.
	ReasonExpired Reason = "expired"
	// ReasonIDReused: the same source and id came before with another type or
	// other data. The job of the first one goes on undisturbed.
	ReasonIDReused Reason = "id_reused"
	// ReasonNoSuchJob: the job to cancel does not run on the host.
	ReasonNoSuchJob Reason = "no_such_job"
)

// Code is why an item failed.
type Code string

// The codes of failed items.
const (
	CodeNotFound  Code = "not_found"
	CodeAmbiguous Code = "ambiguous"
	// CodeReplaced: after the plan was made the item was removed, and something else
	// has its name now.
	CodeReplaced Code = "replaced"
	// CodeGone: after the plan was made the item, which nobody named, was removed, or
	// removed itself. It is skipped, and no failure.
	CodeGone              Code = "gone"
	CodeUncommittable     Code = "uncommittable_state"
	CodeBadLabel          Code = "bad_label"
	CodeQuiesceNotAllowed Code = "quiesce_not_allowed"
	CodeStopWouldRemove   Code = "stop_would_remove"
	// CodeStopWouldBreak: other containers share the container's namespaces, and would
	// break if it were stopped.
	CodeStopWouldBreak Code = "stop_would_break"
	// CodeNotAllowed: the host's configuration does not allow the container to be
	// backed up.
	CodeNotAllowed Code = "not_allowed"
	// CodeNotQuiesced: the container ran while it was committed.
	CodeNotQuiesced Code = "not_quiesced"
	// CodeNotRestored: the container did not come back to the state it was in.
	CodeNotRestored Code = "not_restored"
	// CodeNotTogether: the containers that were to be captured at one point in
	// time could not be.
	CodeNotTogether Code = "not_together"
	// CodeHookFailed: a command that the container's labels name failed before
	// the snapshot.
	CodeHookFailed Code = "hook_failed"
	// CodeEngineUnavailable: the Engine did not answer for as long as it was tried.
	CodeEngineUnavailable Code = "engine_unavailable"
	// CodeEngineRefused: a call that the item needs is not let through to the Engine.
	CodeEngineRefused Code = "engine_refused"
	// CodeEngineUnsupported: whoever answers is no Docker Engine that is supported.
	CodeEngineUnsupported Code = "engine_unsupported"
	// CodeBadEngineAnswer: the Engine leaves out what must be known of the item.
	CodeBadEngineAnswer Code = "bad_engine_answer"
	CodeEngine          Code = "engine_error"
	// CodeEngineFull: the Engine's disk is full.
	CodeEngineFull Code = "engine_full"
	// CodeBaseImageMissing: the image that the container was made from was removed.
	CodeBaseImageMissing Code = "base_image_missing"
	// CodeUncommittableContent: something in the container fits into no image.
	CodeUncommittableContent Code = "uncommittable_content"
	// CodeImageIncomplete: the Engine lists the image and does not have all of it.
	CodeImageIncomplete Code = "image_incomplete"
	// CodeConfigTooLarge: the image's configuration is larger than what is checked.
	CodeConfigTooLarge Code = "config_too_large"
	// CodeCorruptArchive: the Engine's archive is truncated or does not match
	// its own digests.
	CodeCorruptArchive Code = "corrupt_archive"
	// CodeUnreadable: something in a volume cannot be read, or the volume cannot be
	// mounted.
	CodeUnreadable Code = "unreadable"
	// CodeNoHelper: there is no program to read or write volumes with on this Engine.
	CodeNoHelper Code = "no_helper"
	// CodeSinkUnavailable: the sink is missing, read-only or not the one that
	// the worker knows.
	CodeSinkUnavailable Code = "sink_unavailable"
	CodeSinkFull        Code = "sink_full"
	CodeSinkError       Code = "sink_error"
	// CodeMayNotRemove: the credentials of the sink do not let the worker remove anything.
	CodeMayNotRemove Code = "may_not_remove"

	// CodePointNotFound: the sink has no such point.
	CodePointNotFound Code = "point_not_found"
	// CodeNoIdentity: what is stored of the point is encrypted, and no identity here opens
	// it.
	CodeNoIdentity Code = "no_identity"
	// CodePointDamaged: what is stored of the point is not what was stored.
	CodePointDamaged Code = "point_damaged"
	// CodePointNewer: a newer version of Holdfast made the point.
	CodePointNewer Code = "point_newer"
	// CodeUnsuitable: the point does not hold what was asked for, or the sink that it was to be
	// copied to does not take it.
	CodeUnsuitable Code = "unsuitable"
	// CodeProtected: what was asked for would touch something that is protected.
	CodeProtected Code = "protected"

	// CodeHeld: nothing of the group is removed, because its newest point is suspicious.
	CodeHeld Code = "held"
	// CodeKept: the point is kept contrary to the plan, because it was protected, used or
	// taken back meanwhile, or the sink has locked it. It is skipped, and no failure.
	CodeKept Code = "kept"

	// CodeNameTaken, CodePortTaken, CodeAddressTaken: another container has the name,
	// the port of the host, the address in a network.
	CodeNameTaken    Code = "name_taken"
	CodePortTaken    Code = "port_taken"
	CodeAddressTaken Code = "address_taken"
	// CodeNetworkMissing, CodeVolumeMissing: the Engine does not have it.
	CodeNetworkMissing Code = "network_missing"
	CodeVolumeMissing  Code = "volume_missing"
	// CodeNetworkDiffers, CodeVolumeDiffers: what has the name is of another kind than
	// what the point was made with.
	CodeNetworkDiffers Code = "network_differs"
	CodeVolumeDiffers  Code = "volume_differs"
	// CodeVolumeNotEmpty: the volume holds data, and may not be written.
	CodeVolumeNotEmpty Code = "volume_not_empty"
	// CodeVolumeInUse: a container that runs uses the volume.
	CodeVolumeInUse Code = "volume_in_use"
	// CodeDependants: other containers share the namespaces of the one that is to be
	// replaced.
	CodeDependants Code = "dependants"
	// CodePlatformMismatch, CodeRuntimeMissing: the Engine cannot run the container.
	CodePlatformMismatch Code = "platform_mismatch"
	CodeRuntimeMissing   Code = "runtime_missing"
	// CodeNotStarted: the container cannot be started.
	CodeNotStarted Code = "not_started"
	// CodeNotHealthy: the started container did not pass its gate.
	CodeNotHealthy Code = "not_healthy"
	CodeTimeout    Code = "timeout"
	// CodeGaveUp: three attempts at the item ended without a word.
	CodeGaveUp    Code = "gave_up"
	CodeCancelled Code = "cancelled"
	CodeInternal  Code = "internal"
)
