// Package inference is the one way to the models: who may go when, and to which
// server of models.
//
// A request is taken in the form of Ollama or of OpenAI. It waits in a queue that
// is fair to clients, not to requests: who asks much waits behind his own. Then it
// goes to the first back end, in the order of the configuration, that is well; one
// that cannot be reached or says that it is overloaded is passed over, for as long
// as nothing of an answer was sent on. What comes back is passed on as it comes.
//
// An Ollama understands both forms. For a back end that speaks OpenAI's language
// only, Ollama's form is translated, there and back.
//
// It keeps no conversation and no text, limits no client to a rate (the proxy
// does), and starts no back end (systemd does).
package inference
