"""How often a quiet connection is tried: agreed between clients and servers, since a server hangs up on who asks too often."""

PING_S = 20.0  # a client asks after so long without a word
PING_ANSWER_S = 10.0  # and takes the connection for dead after so long without an answer
SERVER_MIN_PING_S = 10.0  # a server must bear being asked this often, streams open or not
