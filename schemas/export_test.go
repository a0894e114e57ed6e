package schemas

// Fresh returns the Validate of a process that has not compiled any schema yet.
func Fresh() func(name string, raw []byte) error { return newLibrary().validate }
