package embedded

import (
	"fmt"

	"go.uber.org/zap"
)

// logger passes the server's log on to zap. It implements server.Logger.
type logger struct {
	log   *zap.SugaredLogger
	fatal chan<- string // the first fatal error; the server has given up then
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debugf(format, v...) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debugf(format, v...) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debugf(format, v...) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warnf(format, v...) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Errorf(format, v...) }

// Fatalf does not end the process: to stop is for the caller of Start.
func (l *logger) Fatalf(format string, v ...any) {
	why := fmt.Sprintf(format, v...)
	l.log.Error(why)
	select {
	case l.fatal <- why:
	default:
	}
}
