package helper

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// running is the file of the program that runs, also when it has been replaced since.
const running = "/proc/self/exe"

// libraries is where a helper has the libraries of a program that is not static.
const libraries = "/libraries"

// self returns the program that runs here.
var self = sync.OnceValues(func() (*program, error) {
	mapped, err := mappedFiles()
	if err != nil {
		return nil, err
	}
	return programOf(running, mapped)
})

// programOf returns an executable as a program. Where it is not static, as go run makes
// it on a machine with a C compiler, the libraries that it has mapped go with it, and
// the dynamic linker to where the executable looks for that.
func programOf(executablePath string, mapped []string) (*program, error) {
	interpreter, err := interpreterOf(executablePath)
	if err != nil {
		return nil, err
	}
	p := &program{files: []file{{executablePath, executable}}}
	if interpreter == "" {
		return p, nil
	}
	p.files = append(p.files, file{interpreter, interpreter})
	for _, library := range mapped {
		name, err := libraryName(library)
		if err != nil {
			return nil, err
		}
		if name != "" {
			p.files = append(p.files, file{library, path.Join(libraries, name)})
		}
	}
	p.environment = []string{"LD_LIBRARY_PATH=" + libraries}
	return p, nil
}

// interpreterOf returns the dynamic linker that an executable asks for; empty if it is
// static.
func interpreterOf(executablePath string) (string, error) {
	f, err := elf.Open(executablePath)
	if err != nil {
		return "", fmt.Errorf("this program cannot be read as one for Linux: %w", err)
	}
	defer f.Close()
	i := slices.IndexFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	if i < 0 {
		return "", nil
	}
	name := make([]byte, f.Progs[i].Filesz)
	if _, err := f.Progs[i].ReadAt(name, 0); err != nil {
		return "", fmt.Errorf("read which dynamic linker this program asks for: %w", err)
	}
	return strings.TrimRight(string(name), "\x00"), nil
}

// libraryName returns the name that programs ask for a shared library by; empty if the
// file is none.
func libraryName(file string) (string, error) {
	f, err := elf.Open(file)
	if _, format := errors.AsType[*elf.FormatError](err); format {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("a library of this program cannot be read; start it anew if it was updated: %w", err)
	}
	defer f.Close()
	names, err := f.DynString(elf.DT_SONAME)
	if err != nil || len(names) == 0 {
		return "", nil
	}
	return names[0], nil
}

// mappedFiles returns the files, apart from the program's own, of which this process has
// code mapped: exactly the libraries that it runs with.
func mappedFiles() ([]string, error) {
	own, err := os.Readlink(running)
	if err != nil {
		return nil, fmt.Errorf("this program's file is not known: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	var files []string
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// address perms offset dev inode path; the path may have blanks.
		const fields = 6
		parts := strings.SplitN(lines.Text(), " ", fields)
		if len(parts) < fields || !strings.Contains(parts[1], "x") {
			continue
		}
		name := strings.TrimLeft(parts[fields-1], " ")
		if strings.HasPrefix(name, "/") && name != own && !slices.Contains(files, name) {
			files = append(files, name)
		}
	}
	return files, nil
}
