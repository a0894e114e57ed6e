package embedded

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/nats-io/nats-server/v2/server"
)

// auth admits one user. The server's own check compares plain passwords too, but
// warns of them at every start, and takes a tenth of a second for hashed ones.
type auth struct{ sum [sha256.Size]byte }

func onlyUser(user, password string) auth { return auth{credentials(user, password)} }

// Check implements server.Authentication.
func (a auth) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	sum := credentials(o.Username, o.Password)
	return subtle.ConstantTimeCompare(sum[:], a.sum[:]) == 1
}

func credentials(user, password string) [sha256.Size]byte {
	return sha256.Sum256([]byte(user + "\x00" + password))
}
