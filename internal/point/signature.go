package point

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
)

// SignatureName is the name of the artifact that holds the signature of the manifest.
const SignatureName = sink.ManifestName + ".sig"

// Publish makes the point of an attempt in the sink to appear, with this manifest, its
// private members encrypted if the sink has recipients, and signed if it has a signer. The
// signature is stored first, so that a point never lacks it. It reports errors as
// [sink.Staging] does, and ErrUnwritable.
func Publish(ctx context.Context, to sink.Reader, staging sink.Staging, m *Manifest) error {
	stored, err := m.sealFor(seal.Of(to))
	if err != nil {
		return err
	}
	signer := sign.Of(to).Signer
	if signer == nil {
		raw, err := stored.Encode()
		if err != nil {
			return err
		}
		return staging.Publish(ctx, raw)
	}
	w, key, err := staging.Create(ctx, SignatureName, sign.MaxSignature)
	if err != nil {
		return err
	}
	stored.Signature = key
	raw, err := stored.Encode()
	if err == nil {
		err = writeSignature(w, signer, raw)
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	return staging.Publish(ctx, raw)
}

func writeSignature(w sink.Writer, signer *sign.Signer, message []byte) error {
	signature, err := signer.Sign(message)
	if err != nil {
		return err
	}
	if _, err := w.Write(signature); err != nil {
		return err
	}
	return w.Commit()
}

// checkSignature proves the signature at key, if that is not empty, as the sink asks for.
func checkSignature(ctx context.Context, from sink.Reader, key string, message []byte) (sign.Verdict, error) {
	var signature []byte
	if key != "" {
		f, err := from.Open(ctx, key)
		if errors.Is(err, sink.ErrNotFound) {
			return sign.Verdict{}, fmt.Errorf("the manifest is %w: its signature, %s, is not there", ErrDamaged, key)
		}
		if err != nil {
			return sign.Verdict{}, err
		}
		defer f.Close()
		signature, err = io.ReadAll(io.LimitReader(f, sign.MaxSignature))
		if err != nil {
			return sign.Verdict{}, fmt.Errorf("read %s: %w", key, err)
		}
	}
	verdict, err := sign.Of(from).Trust.Check(message, signature)
	if err != nil {
		return verdict, fmt.Errorf("the manifest is %w: %w", ErrDamaged, err)
	}
	return verdict, nil
}
