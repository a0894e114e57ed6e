package point

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

// private are the members of a manifest that are encrypted where artifacts are.
type private struct {
	Request     Request              `json:"request"`
	Image       *Image               `json:"image,omitempty"`
	Engine      Engine               `json:"engine"`
	NotIncluded []events.NotIncluded `json:"notIncluded"`
	Warnings    []Warning            `json:"warnings,omitempty"`
}

// sealFor returns the manifest as it is stored for the recipients of a seal. One that is
// sealed already stays as it is.
func (m *Manifest) sealFor(s *seal.Seal) (*Manifest, error) {
	if !s.Encrypts() || len(m.Sealed) > 0 {
		return m, nil
	}
	raw, err := json.Marshal(private{m.Request, m.Image, m.Engine, m.NotIncluded, m.Warnings}, form)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest of point %s: %w: %w", m.ID, ErrUnwritable, err)
	}
	var out bytes.Buffer
	w, err := s.Encrypt(&out)
	if err != nil {
		return nil, err
	}
	if _, err = w.Write(raw); err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt the manifest of point %s: %w", m.ID, err)
	}
	sealed := *m
	sealed.FormatVersion, sealed.Sealed = SealedVersion, out.Bytes()
	switch {
	case m.Artifact(MediaTypePieces) != nil:
		sealed.FormatVersion = SealedPiecesVersion
	case m.IsLayered():
		sealed.FormatVersion = SealedLayersVersion
	}
	sealed.clearPrivate()
	return &sealed, nil
}

func (m *Manifest) clearPrivate() {
	m.Request, m.Image, m.Engine, m.NotIncluded, m.Warnings = Request{}, nil, Engine{}, nil, nil
}

// hasPrivate reports whether a private member is in clear.
func (m *Manifest) hasPrivate() bool {
	return m.Request != (Request{}) || m.Image != nil || m.Engine != (Engine{}) || m.NotIncluded != nil || m.Warnings != nil
}

// Unseal makes the manifest one whose private members are in clear, and does nothing with one
// that is. It reports [seal.ErrNoIdentity], and ErrDamaged if they are not as they were
// written; then the manifest stays as it is.
func (m *Manifest) Unseal(ctx context.Context, s *seal.Seal) error {
	if len(m.Sealed) == 0 {
		return nil
	}
	plain, err := s.Decrypt(ctx, bytes.NewReader(m.Sealed))
	if err != nil {
		return fmt.Errorf("open the manifest of point %s: %w", m.ID, err)
	}
	raw, err := io.ReadAll(io.LimitReader(plain, MaxManifest))
	var p private
	if err == nil {
		err = json.Unmarshal(raw, &p, form)
	}
	if err != nil {
		return fmt.Errorf("the manifest of point %s is %w: what is encrypted in it: %w", m.ID, ErrDamaged, err)
	}
	m.Request, m.Image, m.Engine, m.NotIncluded, m.Warnings = p.Request, p.Image, p.Engine, p.NotIncluded, p.Warnings
	switch m.FormatVersion {
	case SealedVersion:
		m.FormatVersion = FormatVersion
	case SealedLayersVersion:
		m.FormatVersion = LayeredVersion
	case SealedPiecesVersion:
		m.FormatVersion = PiecesVersion
	}
	m.Sealed = nil
	return nil
}

// ReadUnsealed is Read, with the private members in clear; where they are encrypted, and
// cannot be opened here, they are empty.
func ReadUnsealed(ctx context.Context, from sink.Reader, dir string) (*Manifest, error) {
	m, err := Read(ctx, from, dir)
	if err != nil {
		return nil, err
	}
	err = m.Unseal(ctx, seal.Of(from))
	if errors.Is(err, seal.ErrNoIdentity) {
		m.NotIncluded, err = []events.NotIncluded{}, nil
	}
	return m, err
}
