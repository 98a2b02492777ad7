// SPDX-License-Identifier: MIT
// libxlutil refers to this one function of libxenlight, for booleans, which we do not read. With it the command needs
// nothing of Xen's tool stack.
#include <libxl.h>

void libxl_defbool_set(libxl_defbool *db, bool b)
{
	db->val = b ? 1 : -1;
}
