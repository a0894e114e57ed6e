//go:build linux

package bench

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
)

// fileSizes are the sizes of a tree's files, in turn: like in real images most
// files are small, and most bytes are in large ones.
var fileSizes = []int64{4 << 10, 16 << 10, 64 << 10, 1 << 20, 4 << 20}

// filler fills p with content.
type filler func(p []byte, random *rand.ChaCha8)

// writeTree writes about size bytes of files below the folder root to tw: half
// of it incompressible, a quarter each like text and like programs. The same
// seed makes the same bytes, so that runs compare.
func writeTree(tw *tar.Writer, root string, seed uint64, size int64) error {
	random := newRandom(seed)
	noise := func(p []byte, random *rand.ChaCha8) { _, _ = random.Read(p) }
	fillers := []filler{noise, textVocabulary().fill, noise, codeVocabulary().fill}
	buf := make([]byte, fileSizes[len(fileSizes)-1])
	for i := 0; size > 0; i++ {
		n := min(size, fileSizes[i/len(fillers)%len(fileSizes)])
		fillers[i%len(fillers)](buf[:n], random)
		if err := writeFile(tw, fmt.Sprintf("%s/%d/%d", root, i/100, i), 0o644, buf[:n]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// writeSmall writes that many files of up to 4 KiB below the folder root to tw.
func writeSmall(tw *tar.Writer, root string, files int) error {
	random := newRandom(uint64(files))
	buf := make([]byte, 4<<10)
	for i := range files {
		n := int(random.Uint64() % uint64(len(buf)))
		textVocabulary().fill(buf[:n], random)
		if err := writeFile(tw, fmt.Sprintf("%s/%d/%d", root, i/1000, i), 0o644, buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(tw *tar.Writer, name string, mode int64, content []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := tw.Write(content)
	return err
}

// tarStream returns the tar archive that write writes. The reader is to be read
// to its end or closed.
func tarStream(write func(tw *tar.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		err := write(tw)
		if err == nil {
			err = tw.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

// newRandom returns a source that is quick, and the same everywhere.
func newRandom(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// vocabulary makes compressible content: entries follow each other at random,
// the n-th as often as words do in a language (Zipf's law).
type vocabulary struct {
	entries [][]byte
	// drawn maps 16 random bits to an entry.
	drawn [1 << 16]uint16
	// operands puts two random bytes after a quarter of the entries.
	operands bool
}

// textVocabulary has words of letters.
func textVocabulary() *vocabulary {
	random := newRandom(1)
	words := make([][]byte, 8192)
	for i := range words {
		word := make([]byte, 2+random.Uint64()%9)
		for j := range word {
			word[j] = "etaoinshrdlucmfw"[random.Uint64()%16]
		}
		words[i] = append(word, ' ')
	}
	return newVocabulary(words, false)
}

// codeVocabulary has instructions of a few bytes, some with operands.
func codeVocabulary() *vocabulary {
	random := newRandom(2)
	instructions := make([][]byte, 1024)
	for i := range instructions {
		instructions[i] = make([]byte, 2+random.Uint64()%6)
		_, _ = random.Read(instructions[i])
	}
	return newVocabulary(instructions, true)
}

func newVocabulary(entries [][]byte, operands bool) *vocabulary {
	v := &vocabulary{entries: entries, operands: operands}
	for i := range v.drawn {
		// With frequencies of 1/rank, rank is exponential in the share below it.
		share := float64(i) / float64(len(v.drawn))
		v.drawn[i] = uint16(math.Pow(float64(len(entries)), share)) - 1
	}
	return v
}

func (v *vocabulary) fill(p []byte, random *rand.ChaCha8) {
	for len(p) > 0 {
		bits := random.Uint64()
		n := copy(p, v.entries[v.drawn[uint16(bits)]])
		p = p[n:]
		if v.operands && bits>>62 == 0 && len(p) >= 2 {
			binary.LittleEndian.PutUint16(p, uint16(bits>>16))
			p = p[2:]
		}
	}
}
