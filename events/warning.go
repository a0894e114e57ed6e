package events

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Warning is something about an item or a job that did not make it fail, and that
// somebody should look at.
type Warning struct {
	Code WarningCode `json:"code"`
	// Message says what was seen, of which container, and what to do about it. It has
	// at most MaxWarning bytes.
	Message string `json:"message"`
}

// WarningCode is what a warning is about.
type WarningCode string

// The codes of warnings.
const (
	// WarningUnknownLabel: a label of the container looks like one of Holdfast's, and
	// is none.
	WarningUnknownLabel WarningCode = "unknown_label"
	// WarningImageLabel: a label of the container came with its image.
	WarningImageLabel WarningCode = "image_label"
	// WarningHooksNotRun: labels of the container have hooks that are not run.
	WarningHooksNotRun WarningCode = "hooks_not_run"
	// WarningNaiveDiff: the Engine's storage driver misses files that were changed
	// without changing their size and time.
	WarningNaiveDiff WarningCode = "naive_diff"
	// WarningRuntime: the container's runtime may keep its changes to itself.
	WarningRuntime WarningCode = "runtime_hides_changes"
	// WarningSwarmTask: the secrets and configs of a swarm service are not in the point.
	WarningSwarmTask WarningCode = "swarm_task"
	// WarningStopKilled: the container did not end within its grace period when it was
	// stopped, and was killed.
	WarningStopKilled WarningCode = "stop_killed"
	// WarningSnapshotKept: the temporary image could not be removed yet.
	WarningSnapshotKept WarningCode = "snapshot_kept"
	// WarningEngineRoom: the Engine may have no room to save the image.
	WarningEngineRoom WarningCode = "engine_room"
	// WarningVolumeInUse: containers that are not quiesced meanwhile can write to the
	// volume while it is read.
	WarningVolumeInUse WarningCode = "volume_in_use"
	// WarningSocketsLeftOut: sockets in a volume are not in the point.
	WarningSocketsLeftOut WarningCode = "sockets_left_out"
	// WarningMountsLeftOut: what is mounted in a bind mount or volume is not in the point.
	WarningMountsLeftOut WarningCode = "mounts_left_out"
	// WarningChangedWhileRead: files in a volume changed while they were read.
	WarningChangedWhileRead WarningCode = "changed_while_read"
	// WarningContext: the point does not say everything that the container's
	// configuration refers to.
	WarningContext WarningCode = "context_incomplete"
	// WarningMorePoints: there are more points than one job removes or copies.
	WarningMorePoints WarningCode = "more_points"
	// WarningLocked: points stay that a prune would have removed, as the sink has locked them.
	WarningLocked WarningCode = "locked"
	// WarningUnchecked: something of a point could not be checked, or there was nothing to
	// start in a drill.
	WarningUnchecked WarningCode = "unchecked"
	// WarningUntrusted: a point is not signed, or by a key that is not known.
	WarningUntrusted WarningCode = "untrusted"
	// WarningOtherRecipients: what of a point was copied encrypted is not encrypted for the
	// recipients of the sink that it was copied to.
	WarningOtherRecipients WarningCode = "other_recipients"
	// WarningCaughtUp: a sink was away or too slow when the point was stored in another one,
	// and it was copied from there.
	WarningCaughtUp WarningCode = "caught_up"
	// WarningRestore: something about what is restored that somebody should look at.
	WarningRestore WarningCode = "restore"
	// WarningMore: there are more warnings than are listed.
	WarningMore WarningCode = "more"
)

const (
	// MaxWarnings bounds a list of warnings.
	MaxWarnings = 8
	// MaxWarning bounds the message of a warning, in bytes.
	MaxWarning = 400
)

// NewWarning returns a warning, within its bound.
func NewWarning(code WarningCode, format string, args ...any) Warning {
	return Warning{Code: code, Message: shortened(fmt.Sprintf(format, args...), MaxWarning)}
}

// Warn returns the list with one more warning, within its bounds. A warning that
// is there already is not added again.
func Warn(list []Warning, code WarningCode, format string, args ...any) []Warning {
	w := NewWarning(code, format, args...)
	switch {
	case slices.Contains(list, w) || len(list) >= MaxWarnings:
		return list
	case len(list) == MaxWarnings-1:
		w = Warning{Code: WarningMore, Message: "there are more warnings than are listed"}
	}
	return append(slices.Clip(list), w)
}

// WarningCodes returns the codes in the list, each once, in their order.
func WarningCodes(list []Warning) []WarningCode {
	var codes []WarningCode
	for _, w := range list {
		if !slices.Contains(codes, w.Code) {
			codes = append(codes, w.Code)
		}
	}
	return codes
}

// shortened cuts text to at most limit bytes, between two characters, and marks
// the cut.
func shortened(text string, limit int) string {
	const mark = "…"
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if len(text) <= limit {
		return text
	}
	end := limit - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
