package helper

// SetSelf has helpers run another program than this one, until undo is called.
func SetSelf(executable string) (undo func(), err error) {
	p, err := programOf(executable, nil)
	if err != nil {
		return nil, err
	}
	before := self
	self = func() (*program, error) { return p, nil }
	return func() { self = before }, nil
}

// IsStatic reports whether a program needs nothing beside it.
func IsStatic(executable string) (bool, error) {
	interpreter, err := interpreterOf(executable)
	return interpreter == "", err
}

// Self are the files of the program that runs, and where they are in a helper.
func Self() (files map[string]string, err error) {
	p, err := self()
	if err != nil {
		return nil, err
	}
	files = map[string]string{}
	for _, f := range p.files {
		files[f.from] = f.to
	}
	return files, nil
}
