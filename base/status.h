// SPDX-License-Identifier: MIT
// Status of operations that can run short of something: must be checked (design: four classes of error).
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "base/types.h"

enum status {
	ST_OK = 0,
	ST_NOMEM,   // out of frames, slots or another bounded resource
	ST_INVALID, // malformed input
	ST_NOTFOUND,
	ST_RANGE, // outside what was configured
	ST_BUSY,
	ST_UNSUPPORTED,
	ST_AGAIN, // more to do than one call may: call again
};

#endif
